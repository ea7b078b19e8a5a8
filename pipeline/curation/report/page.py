"""The report's page: figures, examples and rewrites in, one self-contained HTML text out. Pure.

Everything that stands in records is escaped by the template engine; the page's own policy forbids
scripts and every request, so that hostile text stays text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import jinja2
from markupsafe import Markup, escape

from align2llava.pipeline.curation.figures.examples import PER_BAND
from align2llava.pipeline.curation.figures.noise import SIGMAS
from align2llava.pipeline.curation.report.cautions import cautions
from align2llava.pipeline.curation.report.charts import histogram, kept_columns, pace_columns
from align2llava.pipeline.curation.report.example_cards import TypeCards
from align2llava.pipeline.curation.report.figures import ReportFigures
from align2llava.pipeline.curation.report.filters import FILTERS, OUTCOMES
from align2llava.pipeline.curation.report.noise_words import noise_lines
from align2llava.pipeline.curation.report.rewrite_cards import RewriteCard
from align2llava.pipeline.curation.visible import visible
from align2llava.pipeline.curation.wording import count, percent, seconds, small


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One big number at the top of the page; `kind` is its CSS class."""

    value: str
    label: str
    kind: str = ""


def render_page(
    figures: ReportFigures, *, examples: Sequence[TypeCards], rewrites: Sequence[RewriteCard]
) -> str:
    """Returns the page as HTML."""
    reach = {one.stage: SIGMAS * one.rms for one in figures.noise}
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(
            figures=figures,
            summary=_unbroken(summary(figures)),
            tiles=tiles(figures),
            cautions=list(cautions(figures.provenance.identities, figures.rewrites)),
            outcomes=OUTCOMES,
            types=[row.type for row in figures.counts],
            truth_types=_truth_types(figures),
            histograms=[
                (str(stage), [(row, histogram(row, reach=reach.get(stage, 0.0))) for row in rows])
                for stage, rows in groupby(figures.rewards, key=lambda row: row.stage)
            ],
            noise_lines=[
                _unbroken(line[0].upper() + line[1:])
                for line in noise_lines(figures.noise, figures.fragile)
            ],
            fragile={(row.stage, row.type): row.num_fragile for row in figures.fragile},
            pace_charts=[(row, pace_columns(row)) for row in figures.paces],
            correlation_rows=[
                list(cells)
                for _, cells in groupby(
                    figures.correlations, key=lambda cell: (cell.stage, cell.type)
                )
            ],
            length_charts=[(row, kept_columns(row.deciles)) for row in figures.kept_by_length],
            per_band=PER_BAND,
            examples=[
                (str(stage), list(groups))
                for stage, groups in groupby(examples, key=lambda group: group.stage)
            ],
            rewrites=rewrites,
        )
    )


@cache
def page_environment() -> jinja2.Environment:
    """Returns the environment of the report's templates: what they print is escaped, and visible.

    One for all reports of a process, because it holds the templates that it has compiled.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("align2llava.pipeline.curation.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.filters["percent"] = _page_percent
    environment.filters["breakable"] = _breakable
    return environment


def _visible(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _breakable(name: str) -> Markup:
    """Returns a name that a narrow column may break behind each underscore."""
    return escape(visible(name)).replace("_", Markup("_<wbr>"))


def _page_percent(share: float | None, digits: int = 1) -> str:
    return _unbroken(percent(share, digits))


def _unbroken(text: str) -> str:
    # A line must not end between a number and its per cent sign.
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _truth_types(figures: ReportFigures) -> list[str]:
    shares = figures.truth.shares if figures.truth else ()
    return list(dict.fromkeys(share.type for share in shares if share.type is not None))


def summary(figures: ReportFigures) -> str:
    """Returns the run in two sentences."""
    rules = figures.provenance.rules
    steps = [
        f"{stage} rewards keep {_keeps(rule.keep)}" for stage, rule in rules.items() if rule.is_on
    ]
    strata = "within each type" if figures.provenance.stratum == "type" else "over all types"
    chosen = f"{' and '.join(steps).capitalize()}, {strata}." if steps else "No stage selected."
    share = figures.kept / figures.input if figures.input else None
    quarantined = count(figures.quarantined) if figures.quarantined else "none"
    return (
        f"{chosen} That leaves {percent(share)} of the input; {count(figures.dropped)} records "
        f"were dropped, {quarantined} quarantined."
    )


def _keeps(keep: str | dict[str, str]) -> str:
    if isinstance(keep, dict):
        return ", ".join(f"{percent(float(share), 0)} of {name}" for name, share in keep.items())
    return f"the best {float(keep) * 100:g} %"


def tiles(figures: ReportFigures) -> list[Tile]:
    """Returns the numbers that stand at the top."""
    share = figures.kept / figures.input if figures.input else None
    shown = [Tile(value=percent(share), label="of the input kept", kind="lead")]
    shown += _truth_tiles(figures)
    warn = "warn" if figures.quarantined else ""
    shown.append(Tile(value=count(figures.quarantined), label="quarantined", kind=warn))
    if figures.rewrites and figures.rewrites.num_turns:
        taken = figures.rewrites.statuses.get("rewritten", 0) / figures.rewrites.num_turns
        shown.append(Tile(value=percent(taken), label="of kept turns rewritten"))
    shown += _boundary_tiles(figures)
    if figures.device_s_per_kept_record is not None:
        cost = seconds(figures.device_s_per_kept_record)
        shown.append(Tile(value=cost, label="device time per kept record"))
    return shown


def _boundary_tiles(figures: ReportFigures) -> list[Tile]:
    measured = [one.num_fragile for one in figures.fragile if one.num_fragile is not None]
    if measured:
        return [Tile(value=count(sum(measured)), label="decisions within noise of a cut")]
    if figures.smallest_margin:
        margin = small(figures.smallest_margin.margin)
        return [Tile(value=margin, label="smallest reward margin at a cut")]
    return []


def _truth_tiles(figures: ReportFigures) -> list[Tile]:
    overall = {
        share.set: share.share
        for share in (figures.truth.shares if figures.truth else ())
        if share.type is None
    }
    if "kept" not in overall:
        return []
    return [
        Tile(value=percent(overall["kept"]), label="of the kept are good", kind="lead"),
        Tile(value=percent(overall["random"]), label="of a random set are good"),
    ]
