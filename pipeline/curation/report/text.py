"""The report in a few lines for a terminal. Pure."""

from collections.abc import Iterator

from align2llava.pipeline.curation.figures.sets import SetFigures
from align2llava.pipeline.curation.figures.truth import GoodShare
from align2llava.pipeline.curation.report.cautions import cautions, rewrite_line
from align2llava.pipeline.curation.report.figures import ReportFigures
from align2llava.pipeline.curation.report.noise_words import noise_lines
from align2llava.pipeline.curation.wording import count, decimal, percent, set_name, small


def report_text(figures: ReportFigures) -> str:
    """Returns what was kept, beside its null baselines, and the closest cut."""
    return "\n".join(_lines(figures))


def _lines(figures: ReportFigures) -> Iterator[str]:
    share = figures.kept / figures.input if figures.input else None
    yield (
        f"{count(figures.kept)} of {count(figures.input)} records kept ({percent(share)}), "
        f"{count(figures.quarantined)} quarantined"
    )
    shares = {
        share.set: share
        for share in (figures.truth.shares if figures.truth else ())
        if share.type is None
    }
    header = f"  {'set':<24} {'records':>8} {'answer words':>13} {'turns':>6}"
    yield header + (f"  {'good by the truth (95 % interval)':>34}" if shares else "")
    for one in figures.sets:
        yield _set_line(one) + (f"  {_good(shares[one.set]):>34}" if shares else "")
    closest = figures.smallest_margin
    if closest is not None:
        yield (
            f"smallest reward margin at a cut: {small(closest.margin)} "
            f"({closest.stage} stage, {closest.type})"
        )
    yield from noise_lines(figures.noise, figures.fragile)
    if figures.rewrites is not None:
        yield f"rewrites: {rewrite_line(figures.rewrites)}"
    for caution in cautions(figures.provenance.identities, figures.rewrites):
        yield f"warning: {caution}"


def _set_line(one: SetFigures) -> str:
    words, turns = decimal(one.mean_answer_words), decimal(one.mean_turns)
    return f"  {set_name(one.set):<24} {count(one.num_records):>8} {words:>13} {turns:>6}"


def _good(share: GoodShare) -> str:
    return f"{percent(share.share)} ({percent(share.low)} to {percent(share.high)})"
