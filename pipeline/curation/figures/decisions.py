"""The figures of a run's decisions: counts, rewards, cuts and what goes with reward. Pure.

Every function takes the decisions as one polars table (a row per input record, the columns of
`decisions.parquet`); those about lengths want the columns of `measures.py` joined to it. Knows
no files and no page.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from align2llava.pipeline.curation.layout import Decision, Reason, RewardStage
from align2llava.pipeline.curation.selection.baselines import eligible

MEASURES = ("question_words", "answer_words", "num_turns")
NUM_BINS = 36
NUM_DECILES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFigures:
    """What became of the records of one type; `quarantined` is by error code."""

    type: str
    input: int
    kept: int
    below_question_cut: int
    below_answer_cut: int
    text_only: int
    quarantined: dict[str, int]
    question_scored: int
    question_passed: int
    answer_scored: int
    answer_passed: int

    @property
    def num_quarantined(self) -> int:
        """Records of the type that ended in quarantine, whatever the code."""
        return sum(self.quarantined.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRewards:
    """The rewards of one type at one stage, and where the cut fell.

    `passed` and `failed` count records per bin; bin i spans `edges[i]` to `edges[i + 1]`.
    `margin_at_cut` is the lowest reward that passed minus the highest that failed; null where
    all or none passed.
    """

    stage: RewardStage
    type: str
    num_scored: int
    num_passed: int
    mean: float
    median: float
    lowest_passed: float | None
    highest_failed: float | None
    margin_at_cut: float | None
    edges: tuple[float, ...]
    passed: tuple[int, ...]
    failed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """How a stage's reward goes with one measure of the text; null where either is constant."""

    stage: RewardStage
    type: str
    measure: str
    num_records: int
    pearson: float | None
    spearman: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthDecile:
    """A tenth of a type's scored records, by words of all its answers, and how many were kept."""

    lowest_words: int
    highest_words: int
    num_records: int
    num_kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptByLength:
    """The deciles of one type, shortest answers first."""

    type: str
    deciles: tuple[LengthDecile, ...]


def types_of(decisions: pl.DataFrame) -> list[str]:
    """Returns the types, most records first; ties by name."""
    counts = decisions.group_by("type").len().sort(["len", "type"], descending=[True, False])
    return counts["type"].to_list()


def passed_at(stage: RewardStage) -> pl.Expr:
    """Returns whether a record passed the cut of `stage`; null where it was not scored there."""
    return pl.col(f"{stage}_rank") <= pl.col(f"{stage}_cut")


def counts_by_type(decisions: pl.DataFrame) -> list[TypeFigures]:
    """Returns one row per type, most records first."""
    # Memory: not the texts of a million records for each type.
    lean = decisions.drop("uid", "id", strict=False)
    return [_counts(name, lean.filter(pl.col("type") == name)) for name in types_of(lean)]


def _counts(name: str, rows: pl.DataFrame) -> TypeFigures:
    reasons = dict(
        rows.filter(pl.col("decision") != Decision.QUARANTINED).group_by("reason").len().rows()
    )
    codes = rows.filter(pl.col("decision") == Decision.QUARANTINED)["reason"].value_counts(
        sort=True
    )
    passed = rows.select(passed_at(stage).sum().alias(stage) for stage in RewardStage).row(
        0, named=True
    )
    return TypeFigures(
        type=name,
        input=rows.height,
        kept=reasons.get(Reason.KEPT, 0),
        below_question_cut=reasons.get(Reason.BELOW_QUESTION_CUT, 0),
        below_answer_cut=reasons.get(Reason.BELOW_ANSWER_CUT, 0),
        text_only=reasons.get(Reason.TEXT_ONLY, 0),
        quarantined=dict(codes.rows()),
        question_scored=rows["question_reward"].count(),
        question_passed=passed["question"],
        answer_scored=rows["answer_reward"].count(),
        answer_passed=passed["answer"],
    )


def stage_rewards(decisions: pl.DataFrame) -> list[StageRewards]:
    """Returns the rewards of each stage and type that has any, stage by stage."""
    return [
        _stage_rewards(rows, stage=stage, name=name)
        for stage in RewardStage
        for name, rows in scored_by_type(decisions, stage)
    ]


def scored_by_type(
    decisions: pl.DataFrame, stage: RewardStage
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yields each type that a stage scored, most input records first, with its `reward`s in float64.

    `ok` = whether the record passed.
    """
    # Lazy: only the columns that are wanted are copied.
    found = decisions.lazy().filter(pl.col(f"{stage}_rank").is_not_null())
    ranked = found.select(
        "type",
        pl.col(f"{stage}_reward").cast(pl.Float64).alias("reward"),
        passed_at(stage).alias("ok"),
    ).collect()
    rows = {name: of_type for (name,), of_type in ranked.partition_by("type", as_dict=True).items()}
    yield from ((name, rows[name]) for name in types_of(decisions) if name in rows)


def _stage_rewards(rows: pl.DataFrame, *, stage: RewardStage, name: str) -> StageRewards:
    passed = rows.filter("ok")["reward"]
    failed = rows.filter(~pl.col("ok"))["reward"]
    lowest, highest = finite(passed.min()), finite(failed.max())
    edges = bin_edges(rows["reward"])
    return StageRewards(
        stage=stage,
        type=name,
        num_scored=rows.height,
        num_passed=len(passed),
        mean=math.fsum(rows["reward"].to_list()) / rows.height,
        median=float(rows.select(pl.median("reward")).item()),
        lowest_passed=lowest,
        highest_failed=highest,
        margin_at_cut=None if lowest is None or highest is None else lowest - highest,
        edges=tuple(edges),
        passed=tuple(bin_counts(passed, edges)),
        failed=tuple(bin_counts(failed, edges)),
    )


def bin_edges(values: pl.Series) -> list[float]:
    """Returns `NUM_BINS` + 1 equally spaced edges over the values; a single value gets a width."""
    low, high = finite(values.min()) or 0.0, finite(values.max()) or 0.0
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = (high - low) / NUM_BINS
    return [low + step * index for index in range(NUM_BINS)] + [high]


def bin_counts(values: pl.Series, edges: Sequence[float]) -> list[int]:
    """Returns how many values fall into each bin; the last bin holds its upper edge too."""
    num_bins = len(edges) - 1
    scale = num_bins / (edges[-1] - edges[0])
    bins = ((values - edges[0]) * scale).cast(pl.Int64).clip(0, num_bins - 1)
    counts = dict(bins.value_counts().rows())
    return [counts.get(index, 0) for index in range(num_bins)]


def smallest_margin(rewards: Sequence[StageRewards]) -> StageRewards | None:
    """Returns the stage and type whose cut was closest, or None where no cut divides anything."""
    cut = [row for row in rewards if row.margin_at_cut is not None]
    return min(cut, key=lambda row: row.margin_at_cut or 0.0, default=None)


def correlations(table: pl.DataFrame) -> list[Correlation]:
    """Returns reward against each measure, for each stage, for all types and for each type."""
    return [
        Correlation(
            stage=stage,
            type=row["type"],
            measure=measure,
            num_records=row["num_records"],
            pearson=finite(row[f"{measure}_pearson"]),
            spearman=finite(row[f"{measure}_spearman"]),
        )
        for stage in RewardStage
        for row in _correlated(table, stage).iter_rows(named=True)
        for measure in MEASURES
    ]


def _correlated(table: pl.DataFrame, stage: RewardStage) -> pl.DataFrame:
    reward = pl.col(f"{stage}_reward").cast(pl.Float64)
    methods: tuple[Literal["pearson", "spearman"], ...] = ("pearson", "spearman")
    return (
        table.select("type", f"{stage}_reward", *MEASURES)
        .filter(pl.col(f"{stage}_reward").is_not_null())
        .group_by("type")
        .agg(
            pl.len().alias("num_records"),
            *(
                pl.corr(reward, pl.col(measure).cast(pl.Float64), method=method).alias(
                    f"{measure}_{method}"
                )
                for measure in MEASURES
                for method in methods
            ),
        )
        .sort(["num_records", "type"], descending=[True, False])
    )


def finite(value: object) -> float | None:
    """Returns the value where it is a finite number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def kept_by_length(table: pl.DataFrame) -> list[KeptByLength]:
    """Returns, per type, the share kept in each tenth of the records by words of their answers.

    Counts records that had a chance: all but the quarantined and the text-only that were dropped.
    Leaves out a type whose answers are all of one length.
    """
    able = eligible(table.select("type", "answer_words", "position", "decision", "reason"))
    rows = {name: of_type for (name,), of_type in able.partition_by("type", as_dict=True).items()}
    return [
        KeptByLength(type=name, deciles=tuple(_deciles(rows[name])))
        for name in types_of(able)
        if rows[name]["answer_words"].n_unique() > 1
    ]


def _deciles(rows: pl.DataFrame) -> list[LengthDecile]:
    ordered = rows.sort(["answer_words", "position"])
    bounds = [ordered.height * step // NUM_DECILES for step in range(NUM_DECILES + 1)]
    slices = [
        ordered.slice(low, high - low) for low, high in itertools.pairwise(bounds) if high > low
    ]
    return [
        LengthDecile(
            lowest_words=rows["answer_words"][0],
            highest_words=rows["answer_words"][-1],
            num_records=rows.height,
            num_kept=rows.filter(pl.col("decision") == Decision.KEPT).height,
        )
        for rows in slices
    ]
