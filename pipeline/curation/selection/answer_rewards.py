"""From the rewards of single answers to the reward of a record, and to its best answers. Pure.

`slots` has one row per answer: uid (UInt128), turn, candidate and reward (float32).
"""

from collections.abc import Mapping, Sequence

import polars as pl

from align2llava.pipeline.curation.uids import in_parts


def record_rewards(slots: pl.DataFrame) -> pl.DataFrame:
    """Returns uid, reward and num_slots of each record: the mean over turns of each turn's best.

    Summed in float64 in turn order; the result is rounded to float32. Source: DESIGN, "Selection".
    """
    return pl.concat(_record_rewards(of_part) for of_part in in_parts(slots))


def best_candidates(slots: pl.DataFrame) -> Mapping[int, Sequence[int]]:
    """Returns the index of each turn's best candidate by uid, the lowest of equal ones."""
    lists = _best(slots).group_by("uid", maintain_order=True).agg("candidate")
    return dict(lists.iter_rows())


def _record_rewards(slots: pl.DataFrame) -> pl.DataFrame:
    mean = pl.col("best").cast(pl.Float64).cum_sum().last() / pl.len()
    turns = slots.group_by("uid", "turn").agg(_equal_zeros().max().alias("best"), pl.len())
    # A group's rows keep their order: that of the turns.
    return (
        turns.sort("turn")
        .group_by("uid")
        .agg(mean.cast(pl.Float32).alias("reward"), pl.col("len").sum().alias("num_slots"))
    )


def _best(slots: pl.DataFrame) -> pl.DataFrame:
    """Returns the row of each turn's best candidate, by uid and turn."""
    order = ["uid", "turn", "reward", "candidate"]
    return (
        slots.with_columns(_equal_zeros())
        .sort(order, descending=[False, False, True, False])
        .unique(["uid", "turn"], keep="first", maintain_order=True)
    )


def _equal_zeros() -> pl.Expr:
    return pl.col("reward") + pl.lit(0.0, pl.Float32)  # -0.0 equals 0.0
