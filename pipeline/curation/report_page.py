"""The report's page: figures, examples and rewrites in, one self-contained HTML text out. Pure.

Everything that stands in records is escaped by the template engine; the page's own policy forbids
scripts and every request, so that hostile text stays text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import jinja2

from pipeline.curation.charts import histogram, kept_columns
from pipeline.curation.example_cards import TypeCards
from pipeline.curation.examples import PER_BAND
from pipeline.curation.report_figures import ReportFigures
from pipeline.curation.report_words import FILTERS, OUTCOMES, count, percent, seconds, small
from pipeline.curation.rewrite_cards import RewriteCard


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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.curation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.filters["percent"] = _page_percent
    return environment.get_template("report.html.j2").render(
        figures=figures,
        summary=_unbroken(summary(figures)),
        tiles=tiles(figures),
        outcomes=OUTCOMES,
        types=[row.type for row in figures.counts],
        truth_types=_truth_types(figures),
        histograms=[
            (str(stage), [(row, histogram(row)) for row in rows])
            for stage, rows in groupby(figures.rewards, key=lambda row: row.stage)
        ],
        correlation_rows=[
            list(cells)
            for _, cells in groupby(figures.correlations, key=lambda cell: (cell.stage, cell.type))
        ],
        length_charts=[(row, kept_columns(row.deciles)) for row in figures.kept_by_length],
        per_band=PER_BAND,
        examples=[
            (str(stage), list(groups))
            for stage, groups in groupby(examples, key=lambda group: group.stage)
        ],
        rewrites=rewrites,
    )


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
    if figures.smallest_margin:
        margin = small(figures.smallest_margin.margin)
        shown.append(Tile(value=margin, label="smallest reward margin at a cut"))
    if figures.scores and figures.kept:
        cost = sum(row.device_s for row in figures.scores) / figures.kept
        shown.append(Tile(value=seconds(cost), label="device time per kept record"))
    return shown


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
