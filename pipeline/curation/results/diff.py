"""Sets two finished runs against each other. Reads both, writes nothing, asks no service."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from align2llava.pipeline.curation.results.diff_figures import (
    Change,
    InputChange,
    KeptDiff,
    RecordDiff,
    RewardDiff,
    TurnsDiff,
    TypeDiff,
    config_changes,
    identity_changes,
    input_changes,
    kept_diff,
    matched,
    record_diffs,
    reward_diffs,
    turns_diff,
    type_diffs,
)
from align2llava.pipeline.curation.run.finished import FinishedRun, open_run, rewrite_ledger
from align2llava.pipeline.curation.store.ledger import goes_out

_LEDGER = {
    "uid": pl.String,
    "turn": pl.Int32,
    "status": pl.String,
    "question": pl.String,
    "answer": pl.String,
    "original_question": pl.String,
    "original_answer": pl.String,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDiff:
    """Everything that differs between two runs.

    `is_same_dataset` says that the files of both datasets are equal, byte for byte.
    """

    a: str
    b: str
    is_same_dataset: bool
    config: list[Change]
    identities: list[Change]
    inputs: list[InputChange]
    types: list[TypeDiff]
    kept: KeptDiff
    records: list[RecordDiff]
    rewards: list[RewardDiff]
    turns: TurnsDiff

    @property
    def is_empty(self) -> bool:
        """Returns whether nothing differs: config, models, inputs, decisions, rewards, rewrites."""
        return (
            self.is_same_dataset
            and not (self.config or self.identities or self.inputs)
            and all(one.a == one.b for one in self.types)
            and not (self.kept.only_a or self.kept.only_b or self.kept.num_other_reason)
            and all(not one.num_different for one in self.rewards)
            and not self.turns.num_different
        )


def diff(run_a: Path, run_b: Path, *, num_examples: int) -> RunDiff:
    """Returns what differs; examples are `num_examples` of each kind at most.

    Raises:
        RunError: one is no finished run, or of another version.
    """
    a, b = open_run(run_a), open_run(run_b)
    records = matched(a.decisions, b.decisions)
    return RunDiff(
        a=str(run_a),
        b=str(run_b),
        is_same_dataset=_dataset(a) == _dataset(b),
        config=config_changes(a.config, b.config),
        identities=identity_changes(a.manifest["identities"], b.manifest["identities"]),
        inputs=input_changes(a.manifest["inputs"], b.manifest["inputs"]),
        types=type_diffs(a.manifest["counts"], b.manifest["counts"]),
        kept=kept_diff(records),
        records=record_diffs(records, num_examples=num_examples),
        rewards=reward_diffs(records),
        turns=turns_diff(_outgoing(a), _outgoing(b), records=records, num_examples=num_examples),
    )


def _dataset(run: FinishedRun) -> list[str]:
    """Returns the hashes of the dataset's files but its card, which holds paths."""
    files = run.manifest["files"].items()
    return [sha256 for path, sha256 in files if path.startswith("dataset/train.")]


def _outgoing(run: FinishedRun) -> pl.DataFrame:
    """Returns the text of each turn of the ledger as the run's config lets it go out."""
    ledger = rewrite_ledger(run.paths)
    if ledger is None or not run.config.alignment.rewrite:
        return pl.DataFrame(schema=_LEDGER)
    is_rewrite = goes_out(is_review_on=run.config.alignment.review)
    texts = [
        pl.when(is_rewrite).then(f"rewrite_{text}").otherwise(f"original_{text}").alias(text)
        for text in ("question", "answer")
    ]
    last = ledger.collect().unique(["uid", "turn"], keep="last", maintain_order=True)
    return last.with_columns(texts).select(list(_LEDGER))
