"""From the rewards of single answers to the reward of a record, and to its best answers. Pure.

`slots` has one row per answer: uid, turn, candidate and reward (float32).
"""

from collections.abc import Mapping, Sequence

import polars as pl


def record_rewards(slots: pl.DataFrame) -> pl.DataFrame:
    """Returns uid, reward and num_slots of each record: the mean over turns of each turn's best.

    Summed in float64 in turn order; the result is rounded to float32. Source: DESIGN, "Selection".
    """
    mean = pl.col("reward").cast(pl.Float64).cum_sum().last() / pl.len()
    means = (
        _best(slots).group_by("uid", maintain_order=True).agg(mean.cast(pl.Float32).alias("reward"))
    )
    counts = slots.group_by("uid").agg(pl.len().alias("num_slots"))
    return means.join(counts, on="uid")


def best_candidates(slots: pl.DataFrame) -> Mapping[str, Sequence[int]]:
    """Returns the index of each turn's best candidate by uid, the lowest of equal ones."""
    lists = _best(slots).group_by("uid", maintain_order=True).agg("candidate")
    return dict(lists.iter_rows())


def _best(slots: pl.DataFrame) -> pl.DataFrame:
    """Returns the row of each turn's best candidate, by uid and turn."""
    equal_zeros = pl.col("reward") + pl.lit(0.0, pl.Float32)
    order = ["uid", "turn", "reward", "candidate"]
    return (
        slots.with_columns(equal_zeros)
        .sort(order, descending=[False, False, True, False])
        .unique(["uid", "turn"], keep="first", maintain_order=True)
    )
