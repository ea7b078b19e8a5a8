"""What the inner LLM's rewrites came to: counts by status, gate and verdict, and examples. Pure.

Works on the rewrite ledger as a polars table, one row per kept turn (columns of `layout.REWRITES`).
"""

from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.curation.layout import AlignStatus, Gate

EXAMPLES_PER_STATUS = {
    AlignStatus.REWRITTEN: 4,
    AlignStatus.ORIGINAL: 3,
    AlignStatus.GATED: 3,
    AlignStatus.HARD_FORMAT: 1,
    AlignStatus.NOT_ALIGNED: 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCounts:
    """How many turns passed a gate, failed it, or never came to it."""

    gate: Gate
    passed: int
    failed: int
    not_tried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCounts:
    """How many turns got this pair of verdicts; the rewrite is taken only where both say so."""

    original_first: str
    rewrite_first: str
    num_turns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteFigures:
    """The rewrite ledger in figures; mean words are over turns that have a rewrite."""

    num_turns: int
    num_kept_turns: int
    statuses: dict[str, int]
    gates: tuple[GateCounts, ...]
    orders: tuple[OrderCounts, ...]
    errors: dict[str, int]
    mean_answer_words_original: float | None
    mean_answer_words_rewrite: float | None


def slim(ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Returns the ledger's flags and word counts without its texts; the last row of a turn wins."""
    words = (
        pl.col(f"{name}_answer").str.count_matches(r"\S+").alias(f"{name}_words")
        for name in ("original", "rewrite")
    )
    columns = ["uid", "turn", *(gate.column for gate in Gate), "original_first", "rewrite_first"]
    flags = ledger.select(*columns, "verdict", "status", "error_code", *words)
    return flags.unique(subset=["uid", "turn"], keep="last", maintain_order=True)


def rewrite_figures(turns: pl.DataFrame, *, num_kept_turns: int) -> RewriteFigures:
    """Returns the figures of a slim ledger."""
    reviewed = turns.filter(pl.col("verdict").is_not_null())
    orders = reviewed.group_by("original_first", "rewrite_first").len().sort("len", descending=True)
    rewritten = turns.filter(pl.col("rewrite_words").is_not_null())
    return RewriteFigures(
        num_turns=turns.height,
        num_kept_turns=num_kept_turns,
        statuses=_counts(turns["status"]),
        gates=tuple(_gate_counts(turns, gate) for gate in Gate),
        orders=tuple(
            OrderCounts(original_first=first, rewrite_first=second, num_turns=number)
            for first, second, number in orders.iter_rows()
        ),
        errors=_counts(turns["error_code"].drop_nulls()),
        mean_answer_words_original=_mean(rewritten["original_words"]),
        mean_answer_words_rewrite=_mean(rewritten["rewrite_words"]),
    )


def choose_turns(turns: pl.DataFrame) -> list[tuple[str, int]]:
    """Returns keys (uid, turn) of turns to show: some of each status, in order of uid.

    A uid is a hash, so its order is arbitrary and yet the same in every run.
    """
    ordered = turns.sort("uid", "turn")
    return [
        (uid, turn)
        for status, number in EXAMPLES_PER_STATUS.items()
        for uid, turn in ordered.filter(pl.col("status") == status)
        .head(number)
        .select("uid", "turn")
        .iter_rows()
    ]


def _gate_counts(turns: pl.DataFrame, gate: Gate) -> GateCounts:
    column = turns[gate.column]
    passed = int(column.sum() or 0)
    return GateCounts(
        gate=gate,
        passed=passed,
        failed=column.count() - passed,
        not_tried=column.null_count(),
    )


def _counts(column: pl.Series) -> dict[str, int]:
    return dict(column.value_counts(sort=True).rows())


def _mean(column: pl.Series) -> float | None:
    mean = column.mean()
    return float(mean) if isinstance(mean, int | float) else None
