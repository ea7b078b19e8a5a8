"""The summary of a curation, for people and as one JSON object. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.curation.deciding.publish import Published
from align2llava.pipeline.curation.figures.noise import Fragility, Noise
from align2llava.pipeline.curation.layout import TypeCounts
from align2llava.pipeline.curation.report.cautions import cautions, gate_counts, rewrite_line
from align2llava.pipeline.curation.report.noise_words import noise_lines
from align2llava.pipeline.curation.stages.rewarding import StageCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSummary:
    """Quarantined records of one code, and where the first stands and what was said of it."""

    num_records: int
    first_position: int
    first_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run did. `dataset`: its path. `gaps`: stage -> stratum -> smallest reward gap at the cut; `asked`: by stage.

    `noise` has no entry for a stage whose canaries were not compared. `gated`: turns by the gate they
    failed. `cautions`: what the run must not be used without knowing, a line each.
    """

    run_dir: str
    dataset: str
    num_input: int
    num_kept: int
    num_quarantined: int
    quarantine_limit: float
    counts: Mapping[str, TypeCounts]
    quarantined: Mapping[str, CodeSummary]
    gaps: Mapping[str, Mapping[str, float]]
    asked: Mapping[str, StageCounts]
    warnings: Sequence[str]
    noise: Sequence[Noise]
    fragile: Sequence[Fragility]
    num_changed: int
    num_turns_rewritten: int
    num_turns_not_aligned: int
    rewrites: str | None
    gated: Mapping[str, int]
    cautions: Sequence[str]
    seconds: float


def summary_of(
    run_dir: str,
    *,
    dataset: str,
    published: Published,
    gaps: Mapping[str, Mapping[str, float]],
    asked: Mapping[str, StageCounts],
    warnings: Sequence[str],
    quarantine_limit: float,
    seconds: float,
) -> Summary:
    """Returns the summary of a published run."""
    rewrites = published.report.rewrites
    counts, faults = published.written.counts, published.written.faults
    return Summary(
        run_dir=run_dir,
        dataset=dataset,
        num_input=sum(of_type["input"] for of_type in counts.values()),
        num_kept=sum(of_type["kept"] for of_type in counts.values()),
        num_quarantined=faults.height,
        quarantine_limit=quarantine_limit,
        counts=counts,
        quarantined=_by_code(faults),
        gaps=gaps,
        asked=asked,
        warnings=warnings,
        noise=published.report.noise,
        fragile=published.report.fragile,
        num_changed=published.written.num_changed,
        num_turns_rewritten=published.num_turns_rewritten,
        num_turns_not_aligned=published.num_turns_not_aligned,
        rewrites=None if rewrites is None else rewrite_line(rewrites),
        gated={} if rewrites is None else gate_counts(rewrites),
        cautions=tuple(cautions(published.report.provenance.identities, rewrites)),
        seconds=seconds,
    )


def _by_code(faults: pl.DataFrame) -> dict[str, CodeSummary]:
    by_code = faults.group_by("reason").agg(
        pl.len().alias("num"),
        pl.col("message").sort_by("position").first(),
        pl.col("position").min(),
    )
    return {
        code: CodeSummary(num_records=number, first_position=position, first_message=message)
        for code, number, position, message in by_code.sort(
            "num", "reason", descending=[True, False]
        )
        .select("reason", "num", "position", "message")
        .iter_rows()
    }


def summary_text(summary: Summary) -> str:
    """Returns the summary as lines for a terminal."""
    share = summary.num_kept / summary.num_input if summary.num_input else 0.0
    width = max((len(name) for name in summary.counts), default=4)
    lines = [
        f"{summary.num_kept} of {summary.num_input} records kept ({share:.1%}) in {summary.run_dir}",
        f"  {'type':<{width}}  {'input':>8} {'kept':>8} {'dropped':>8} {'quarantined':>11}",
        *(
            f"  {name:<{width}}  {one['input']:>8} {one['kept']:>8} {one['dropped']:>8} "
            f"{one['quarantined']:>11}"
            for name, one in summary.counts.items()
        ),
        f"changed records: {summary.num_changed}",
    ]
    if summary.rewrites is not None:
        lines.append(f"rewrites: {summary.rewrites}")
    for code, one in summary.quarantined.items():
        lines.append(
            f"quarantined: {one.num_records} x {code} (first: record {one.first_position}: "
            f"{one.first_message})"
        )
    lines += [f"warning: {warning}" for warning in summary.warnings]
    lines += [f"{stage}: {_asked(counts)}" for stage, counts in summary.asked.items()]
    for stage, gaps in summary.gaps.items():
        shown = ", ".join(f"{stratum} {gap:.3g}" for stratum, gap in sorted(gaps.items()))
        lines.append(f"smallest reward gap at the {stage} cut: {shown}")
    lines += noise_lines(summary.noise, summary.fragile)
    lines.append(f"took {summary.seconds:.1f} s")
    lines += (f"warning: {caution}" for caution in summary.cautions)
    return "\n".join([*lines, *_next_steps(summary)])


def _next_steps(summary: Summary) -> list[str]:
    run = summary.run_dir
    num_left = summary.num_turns_not_aligned
    align = f"  a2l align {run} rewrites and reviews the {num_left} turns that have no verdict yet"
    return [
        f"dataset: {summary.dataset}",
        f"report: {run}/report/index.html; every record: {run}/report/records.html",
        f"next: read what lies close to a cut (records.html#order=near; a2l explain {run} POSITION)",
        *([align] if num_left else []),
        f"  a2l export {run} --out FOLDER copies the dataset with its card",
        f"  a2l select {run} --answer-keep 0.5 decides again, asking no model",
    ]


def _asked(counts: StageCounts) -> str:
    if not counts.num_asked:
        return "every reward was stored already"
    return (
        f"asked for {counts.num_asked} records in {counts.num_calls} messages; the stage has "
        f"{counts.num_images} images, which went out as {counts.num_image_groups} groups"
    )
