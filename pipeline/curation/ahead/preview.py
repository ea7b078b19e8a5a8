"""A curation of a small sample, end to end, to be read by people. Leaves nothing behind.

It is a run like any other on a sample of the input, in a folder that is removed afterwards.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.ahead.sample import Sample, draw_sample, write_sample
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.deciding.summary import Summary
from align2llava.pipeline.curation.endpoints.opening import Connector
from align2llava.pipeline.curation.layout import TypeCounts
from align2llava.pipeline.curation.results.explain import explain
from align2llava.pipeline.curation.results.explanation import Explanation
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.process.progress import ProgressView

_DECISIONS = ("kept", "dropped", "quarantined")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedType:
    """How many records of a type the input has, and what became of the sampled ones."""

    type: str
    num_input: int
    num_sampled: int
    num_kept: int
    num_quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A sample of `num_input` records and what became of it, ordered for reading.

    `question_keep` and `answer_keep` are the config's; None = the stage is off. `rewrites` and
    `cautions` as in a run's summary.
    """

    num_input: int
    types: list[PreviewedType]
    question_keep: str | None
    answer_keep: str | None
    records: list[Explanation]
    rewrites: str | None
    cautions: list[str]
    seconds: float


def preview(
    config: Config,
    *,
    size: int,
    connector: Connector,
    api_key: str | None,
    progress: ProgressView,
) -> Preview:
    """Curates `size` records of the input and returns all that is known of each.

    By type; within it kept records first, then dropped ones, each in the order of their ranks.

    Raises:
        PipelineError: as `curate` says.
    """
    sample = draw_sample(config, size=size, progress=progress)
    with TemporaryDirectory(prefix="a2l-preview-") as folder:
        run_dir = Path(folder) / "run"
        summary = curate(
            write_sample(sample, Path(folder), config=config),
            run_dir=run_dir,
            resume=Resume.NEVER,
            connector=connector,
            api_key=api_key,
            progress=progress,
        )
        records = _explained(run_dir, sample)
    selection = config.selection
    return Preview(
        num_input=sample.num_input,
        types=_types(sample, summary),
        question_keep=str(selection.question_keep) if selection.question else None,
        answer_keep=str(selection.answer_keep) if selection.answer else None,
        records=sorted(records, key=_reading_order),
        rewrites=summary.rewrites,
        cautions=list(summary.cautions),
        seconds=summary.seconds,
    )


def _explained(run_dir: Path, sample: Sample) -> list[Explanation]:
    positions = [one.position for one in sample.records]  # of the input, by position in the sample
    found = (explain(run_dir, str(at)) for at in range(len(positions)))
    return [
        replace(
            one,
            position=positions[one.position],
            also_at=tuple(positions[other] for other in one.also_at),
            note=None,
        )
        for one in found
    ]


def _types(sample: Sample, summary: Summary) -> list[PreviewedType]:
    num_input: dict[str, int] = {}
    for stratum, number in sample.num_records.items():
        num_input[stratum.type] = num_input.get(stratum.type, 0) + number
    none = TypeCounts(input=0, kept=0, dropped=0, quarantined=0)
    sampled = {name: summary.counts.get(name, none) for name in num_input}
    return [
        PreviewedType(
            type=name,
            num_input=number,
            num_sampled=sampled[name]["input"],
            num_kept=sampled[name]["kept"],
            num_quarantined=sampled[name]["quarantined"],
        )
        for name, number in sorted(num_input.items())
    ]


def _reading_order(one: Explanation) -> tuple[str, int, int, int, int]:
    last = one.standings[-1] if one.standings else None
    return (
        one.type,
        _DECISIONS.index(one.decision),
        -len(one.standings),
        last.rank if last else 0,
        one.position,
    )
