"""A run without each of its parts in turn, beside the whole and beside chance.

All variants share one run directory: rewards and rewrites are found by content, so that none is asked
for twice. The whole run comes first and, from what is stored, last, so that RUN is left as the config
says. Each variant's dataset is put by under `ablations/`.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.ahead.ablation_figures import (
    AblationRow,
    Asked,
    ablation_row,
    kept,
    known_rewards,
    passed_uids,
    usable_uids,
    variants,
)
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.deciding.summary import Summary
from align2llava.pipeline.curation.disk.files import whole_file
from align2llava.pipeline.curation.endpoints.metering import (
    CANARY_PREFIX,
    CallCost,
    MeteredConnector,
)
from align2llava.pipeline.curation.endpoints.opening import Connector
from align2llava.pipeline.curation.layout import RewardStage, RunPaths
from align2llava.pipeline.curation.results.export import export_baseline
from align2llava.pipeline.curation.run.finished import open_run, rewrite_ledger, score_rows
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.curation.selection.baselines import Baseline, baseline_positions
from align2llava.pipeline.curation.uids import with_numbers
from align2llava.pipeline.process.progress import ProgressView

FOLDER = "ablations"
WHOLE = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """The table: the whole run, a row for each part left out, and random records."""

    run_dir: str
    num_input: int
    rows: list[AblationRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """One variant that was curated."""

    file: Path
    decisions: pl.DataFrame
    summary: Summary
    asked: Asked


def ablate(
    config: Config,
    *,
    run_dir: Path,
    resume: Resume,
    connector: Connector,
    api_key: str | None,
    progress: ProgressView,
    tell: Callable[[str], None],
) -> Ablation:
    """Returns the table; what is asked for is stored as it comes. `tell` takes a line before each variant.

    Raises:
        PipelineError: as `curate` says; the same with `resume` always goes on.
    """
    meter = _Counter()
    metered = MeteredConnector(connector=connector, meter=meter)

    def ran(variant: Config, *, how: Resume) -> tuple[Summary, Asked]:
        summary = curate(
            variant,
            run_dir=run_dir,
            resume=how,
            connector=metered,
            api_key=api_key,
            progress=progress,
        )
        return summary, meter.asked()

    tell(f"{WHOLE}: asks for what {run_dir} does not hold yet")
    summary, asked = ran(config, how=resume)
    paths = RunPaths(run_dir)
    found = {WHOLE: _ran(paths, summary, asked, name=WHOLE)}
    for name, variant in variants(config).items():
        tell(f"{name}: {_announced(paths, name, whole=found[WHOLE].decisions)}")
        summary, asked = ran(variant, how=Resume.ALWAYS)
        found[name] = _ran(paths, summary, asked, name=name)
    tell(f"{WHOLE}: written again from what is stored")
    ran(config, how=Resume.ALWAYS)
    return Ablation(
        run_dir=str(run_dir),
        num_input=found[WHOLE].decisions.height,
        rows=_rows(paths, found),
    )


@dataclass(slots=True)
class _Counter:
    """A `Meter` that counts items by kind of call."""

    counts: Counter[str] = field(default_factory=Counter[str])

    async def begin(self, *, ends_begun: bool) -> None:
        """See `Meter.begin`."""

    def end(self, cost: CallCost | None) -> None:
        """See `Meter.end`."""
        for item in cost.items if cost is not None else ():
            if cost is not None and not item.id.startswith(CANARY_PREFIX):
                self.counts[cost.kind] += 1

    def asked(self) -> Asked:
        """Returns what was counted since the last time."""
        counts, self.counts = self.counts, Counter()
        return Asked(
            question_rewards=counts["question-reward"],
            answer_rewards=counts["answer-reward"],
            rewrites=counts["rewrite"],
            reviews=counts["review"],
        )


def _ran(paths: RunPaths, summary: Summary, asked: Asked, *, name: str) -> _Ran:
    """Returns a variant that was just curated; its dataset is put by, but the whole run's own."""
    file = next(paths.dataset.glob("train.*"))
    if name != WHOLE:
        file = _put_by(file, paths.root / FOLDER / f"{name}{file.suffix}")
    decisions = open_run(paths.root).decisions
    return _Ran(file=file, decisions=decisions, summary=summary, asked=asked)


def _put_by(file: Path, path: Path) -> Path:
    with file.open("rb") as source, whole_file(path) as copy:
        shutil.copyfileobj(source, copy)
    return path


def _announced(paths: RunPaths, name: str, *, whole: pl.DataFrame) -> str:
    """Returns how much a variant will ask for, seen from the decisions of the whole run."""
    if name == "no-question":
        lacking = _lacking(usable_uids(whole), score_rows(paths, RewardStage.ANSWER))
        return f"{lacking} records lack answer rewards; they are asked for, then rewrites of those kept"
    if name == "no-answer":
        lacking = _lacking(passed_uids(whole), rewrite_ledger(paths))
        return f"{lacking} records lack rewrites; they are asked for where rewrites are on"
    return "asks for nothing"


def _lacking(uids: pl.Series, stored: pl.LazyFrame | None) -> int:
    if stored is None:
        return len(uids)
    known = stored.select("uid").unique().collect()["uid"]
    return len(uids.filter(~uids.is_in(known.implode())))


def _rows(paths: RunPaths, found: dict[str, _Ran]) -> list[AblationRow]:
    run = open_run(paths.root)
    rewards = known_rewards([one.decisions for one in found.values()])
    whole = kept(run.decisions)
    rows = [
        ablation_row(
            name,
            kept(one.decisions),
            file=str(one.file.relative_to(paths.root)),
            whole=whole,
            rewards=rewards,
            num_turns_rewritten=one.summary.num_turns_rewritten,
            asked=one.asked,
        )
        for name, one in found.items()
    ]
    lengths = pl.lit(0, dtype=pl.Int64)  # a random draw does not look at them
    table = with_numbers(run.decisions).with_columns(question_words=lengths, answer_words=lengths)
    drawn = baseline_positions(table, Baseline.RANDOM, seed=run.seed)
    random = run.decisions.filter(pl.col("position").is_in(drawn))
    exported = export_baseline(paths.root, Baseline.RANDOM)
    rows.append(
        ablation_row(
            Baseline.RANDOM.value,
            random.select("position", "uid", "type"),
            file=str(exported.path.relative_to(paths.root)),
            whole=whole,
            rewards=rewards,
            num_turns_rewritten=0,
            asked=Asked(),
        )
    )
    return rows
