"""What differs between two runs, A and B, as figures over their tables. Pure; knows no files.

Records are matched by uid; of records with equal content the first of A is matched with the first
of B, and so on. A record without a uid (it could not be parsed) matches none.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.layout import Decision, InputEntry, RewardStage, TypeCounts

ABSENT = "not_in_the_input"  # the reason of a record in the run that never read it
NO_ENTRY = "none"  # the status of a turn in the run whose ledger does not have it
_NONE = TypeCounts(input=0, kept=0, dropped=0, quarantined=0)
_PLACES = tuple(f"{stage}_{what}" for stage in RewardStage for what in ("reward", "rank", "cut"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A config key or an endpoint's model that differs; None = not there."""

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChange:
    """An input file that only one run read, or of which one read more; 0 records = did not read it."""

    path: str
    sha256: str
    num_records_a: int
    num_records_b: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeDiff:
    """What became of the records of one type in each run."""

    type: str
    a: TypeCounts
    b: TypeCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDiff:
    """Which records were kept. Reasons are those of the run that did not keep them.

    `num_other_reason` counts all matched records whose reason differs, dropped ones too. `jaccard`
    is None where neither run kept any.
    """

    num_a: int
    num_b: int
    num_both: int
    only_a: dict[str, int]
    only_b: dict[str, int]
    jaccard: float | None
    num_other_reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a record stood in one run; ranks count from 1, and pass up to the cut."""

    position: int
    reason: str
    question_reward: float | None
    question_rank: int | None
    question_cut: int | None
    answer_reward: float | None
    answer_rank: int | None
    answer_cut: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDiff:
    """A record that one run kept and the other did not; None = not in that run's input."""

    uid: str
    type: str
    kept_by: str
    a: Standing | None
    b: Standing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardDiff:
    """Rewards of one stage where both runs scored a record; differences are B minus A.

    `type` None = all. `spearman` is None where it is not defined (one record, or constant rewards).
    """

    stage: RewardStage
    type: str | None
    num_both: int
    num_different: int
    largest: float
    mean: float
    spearman: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDiff:
    """One turn of a record that both kept, and what each run's dataset says there."""

    uid: str
    turn: int
    status_a: str
    status_b: str
    question_a: str
    answer_a: str
    question_b: str
    answer_b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnsDiff:
    """Turns of records that both kept and a ledger knows; `statuses` is of those that differ."""

    num_turns: int
    num_different: int
    statuses: dict[str, int]
    examples: tuple[TurnDiff, ...]


def config_changes(a: Config, b: Config) -> list[Change]:
    """Returns the dotted keys whose values differ, in the order of the config."""
    before, after = (dict(_leaves(config.model_dump())) for config in (a, b))
    return [
        Change(name=key, a=_shown(before, key), b=_shown(after, key))
        for key in before | after
        if key not in before or key not in after or before[key] != after[key]
    ]


def identity_changes(
    a: Mapping[str, Mapping[str, str]], b: Mapping[str, Mapping[str, str]]
) -> list[Change]:
    """Returns the endpoints that answered with another identity, or in one run only."""
    names = {name: [run.get(name, {}).get("identity") for run in (a, b)] for name in {**a, **b}}
    return [Change(name=name, a=one, b=two) for name, (one, two) in names.items() if one != two]


def input_changes(a: list[InputEntry], b: list[InputEntry]) -> list[InputChange]:
    """Returns the input files, told apart by their content, that were not read alike."""
    counts = [{entry["sha256"]: entry["num_records"] for entry in run} for run in (a, b)]
    paths = {entry["sha256"]: entry["path"] for entry in [*b, *a]}
    return [
        InputChange(
            path=path,
            sha256=sha256,
            num_records_a=counts[0].get(sha256, 0),
            num_records_b=counts[1].get(sha256, 0),
        )
        for sha256, path in paths.items()
        if counts[0].get(sha256) != counts[1].get(sha256)
    ]


def type_diffs(a: Mapping[str, TypeCounts], b: Mapping[str, TypeCounts]) -> list[TypeDiff]:
    """Returns the counts of every type that either run has, by name."""
    return [
        TypeDiff(type=name, a=a.get(name, _NONE), b=b.get(name, _NONE))
        for name in sorted({**a, **b})
    ]


def matched(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Returns one row per record of either run: uid, and the columns of both with `_a` and `_b`."""
    sides = [_side(table, name) for table, name in ((a, "a"), (b, "b"))]
    return sides[0].join(sides[1], on=["uid", "copy"], how="full", coalesce=True, nulls_equal=False)


def kept_diff(records: pl.DataFrame) -> KeptDiff:
    """Returns the kept records of both runs set against each other; `records` as `matched` gives."""
    in_a, in_b = (_is_kept(side) for side in "ab")
    counts = records.select(
        in_a.sum().alias("a"), in_b.sum().alias("b"), (in_a & in_b).sum().alias("both")
    )
    num_a, num_b, num_both = counts.row(0)
    union = num_a + num_b - num_both
    other = pl.col("reason_a").is_not_null() & (pl.col("reason_a") != pl.col("reason_b"))
    return KeptDiff(
        num_a=num_a,
        num_b=num_b,
        num_both=num_both,
        only_a=_reasons(records.filter(in_a & ~in_b), "reason_b"),
        only_b=_reasons(records.filter(in_b & ~in_a), "reason_a"),
        jaccard=num_both / union if union else None,
        num_other_reason=records.filter(other).height,
    )


def record_diffs(records: pl.DataFrame, *, num_examples: int) -> list[RecordDiff]:
    """Returns records that one run alone kept, the best-ranked there first, so many of each run."""
    found: list[RecordDiff] = []
    for side, other in ("ab", "ba"):
        rank = pl.coalesce(f"answer_rank_{side}", f"question_rank_{side}")
        only = records.filter(_is_kept(side) & ~_is_kept(other))
        best = only.sort([rank, pl.col(f"position_{side}")], nulls_last=True).head(num_examples)
        found += [
            RecordDiff(
                uid=row["uid"],
                type=row[f"type_{side}"],
                kept_by=side,
                a=_place(row, "a"),
                b=_place(row, "b"),
            )
            for row in best.iter_rows(named=True)
        ]
    return found


def reward_diffs(records: pl.DataFrame) -> list[RewardDiff]:
    """Returns the differences of each stage that both runs scored: for all types, then for each."""
    found: list[RewardDiff] = []
    for stage in RewardStage:
        pair = (pl.col(f"{stage}_reward_a"), pl.col(f"{stage}_reward_b"))
        both = records.filter(pair[0].is_not_null(), pair[1].is_not_null()).select(
            pl.col("type_a").alias("type"),
            pair[0].cast(pl.Float64).alias("a"),
            pair[1].cast(pl.Float64).alias("b"),
        )
        if both.is_empty():
            continue
        found.append(_reward_diff(both, stage=stage, name=None))
        found += [
            _reward_diff(both.filter(pl.col("type") == name), stage=stage, name=name)
            for name in sorted(both["type"].unique())
        ]
    return found


def turns_diff(
    a: pl.DataFrame, b: pl.DataFrame, *, records: pl.DataFrame, num_examples: int
) -> TurnsDiff:
    """Returns which turns of records that both kept go out otherwise.

    `a` and `b` have a row per turn of a ledger: uid, turn, status, question, answer as they go out.
    """
    kept = records.filter(_is_kept("a") & _is_kept("b")).select("uid").unique()
    turns = a.join(b, on=["uid", "turn"], how="full", coalesce=True, suffix="_b")
    turns = turns.join(kept, on="uid", how="semi")
    is_new = [_is_rewritten(suffix) for suffix in ("", "_b")]
    has_both = pl.col("status").is_not_null() & pl.col("status_b").is_not_null()
    texts = (pl.col("question") != pl.col("question_b")) | (pl.col("answer") != pl.col("answer_b"))
    differ = pl.when(has_both).then(texts).otherwise(is_new[0] | is_new[1])
    different = turns.filter(differ).sort("uid", "turn")
    named = different.with_columns(pl.col("status", "status_b").fill_null(NO_ENTRY))
    pairs = named.select(pl.format("{} -> {}", "status", "status_b").alias("pair"))["pair"]
    return TurnsDiff(
        num_turns=turns.height,
        num_different=different.height,
        statuses=dict(pairs.value_counts(sort=True).sort("count", "pair", descending=True).rows()),
        examples=tuple(_turn(row) for row in named.head(num_examples).iter_rows(named=True)),
    )


def _leaves(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _shown(leaves: Mapping[str, object], key: str) -> str | None:
    value = leaves.get(key)
    if isinstance(value, bool):
        return "on" if value else "off"
    return None if value is None else str(value)


def _side(table: pl.DataFrame, name: str) -> pl.DataFrame:
    columns = ("position", "id", "type", *_PLACES, "decision", "reason")
    copy = pl.int_range(pl.len()).over("uid").alias("copy")
    return table.sort("position").select(
        "uid", copy, *(pl.col(column).alias(f"{column}_{name}") for column in columns)
    )


def _is_kept(side: str) -> pl.Expr:
    return (pl.col(f"decision_{side}") == Decision.KEPT).fill_null(value=False)


def _reasons(rows: pl.DataFrame, column: str) -> dict[str, int]:
    counts = rows[column].fill_null(ABSENT).value_counts(sort=True)
    return {reason: number for reason, number in counts.rows() if number}


def _place(row: Mapping[str, object], side: str) -> Standing | None:
    position = row[f"position_{side}"]
    if position is None:
        return None

    def number(name: str) -> int | None:
        value = row[f"{name}_{side}"]
        return int(str(value)) if value is not None else None

    def reward(stage: RewardStage) -> float | None:
        value = row[f"{stage}_reward_{side}"]
        return float(str(value)) if value is not None else None

    return Standing(
        position=int(str(position)),
        reason=str(row[f"reason_{side}"]),
        question_reward=reward(RewardStage.QUESTION),
        question_rank=number("question_rank"),
        question_cut=number("question_cut"),
        answer_reward=reward(RewardStage.ANSWER),
        answer_rank=number("answer_rank"),
        answer_cut=number("answer_cut"),
    )


def _reward_diff(both: pl.DataFrame, *, stage: RewardStage, name: str | None) -> RewardDiff:
    moved = pl.col("b") - pl.col("a")
    found = both.select(
        (moved != 0).sum().alias("num_different"),
        moved.abs().max().alias("largest"),
        moved.mean().alias("mean"),
        pl.corr("a", "b", method="spearman").alias("spearman"),
    ).row(0, named=True)
    spearman = found["spearman"]
    return RewardDiff(
        stage=stage,
        type=name,
        num_both=both.height,
        num_different=found["num_different"],
        largest=found["largest"],
        mean=found["mean"],
        spearman=spearman if spearman is not None and math.isfinite(spearman) else None,
    )


def _is_rewritten(suffix: str) -> pl.Expr:
    """Returns whether a turn goes out otherwise than it came; False where the ledger lacks it."""
    pairs = [
        pl.col(f"{text}{suffix}") != pl.col(f"original_{text}{suffix}")
        for text in ("question", "answer")
    ]
    return (pairs[0] | pairs[1]).fill_null(value=False)


def _turn(row: Mapping[str, object]) -> TurnDiff:
    """Returns a turn; the run whose ledger lacks it has the original, which the other one knows."""
    question_a, question_b = row["question"] or row["original_question_b"], row["question_b"]
    answer_a, answer_b = row["answer"] or row["original_answer_b"], row["answer_b"]
    return TurnDiff(
        uid=str(row["uid"]),
        turn=int(str(row["turn"])),
        status_a=str(row["status"]),
        status_b=str(row["status_b"]),
        question_a=str(question_a),
        answer_a=str(answer_a),
        question_b=str(question_b or row["original_question"]),
        answer_b=str(answer_b or row["original_answer"]),
    )
