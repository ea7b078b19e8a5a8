"""Selection: which records pass a stage. Pure; knows no files, no models, no clock.

The quota is exact, ties are broken by a keyed hash of the uid, and the outcome does not depend on
the order of the input.
"""

from collections.abc import Mapping
from decimal import Decimal

import polars as pl

from align2llava.pipeline.curation.uids import keyed_hashes


def quota(keep: Decimal, num_scored: int) -> int:
    """Returns how many of `num_scored` records are kept: floor(keep * num_scored + 1/2).

    Raises:
        ValueError: `keep` is outside [0, 1].
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"keep is {keep}; it lies in [0, 1]")
    # As integers: the product of two decimals would be rounded to the context's precision.
    numerator, denominator = keep.as_integer_ratio()
    return (2 * numerator * num_scored + denominator) // (2 * denominator)


def place(contenders: pl.DataFrame, *, keeps: Mapping[str, Decimal], seed: int) -> pl.DataFrame:
    """Returns `rank` (1 = best of its stratum) and the stratum's `cut` of each contender, in order.

    Contenders have uid (UInt128), stratum and reward, in order of position; one without a reward
    has no place. Within a stratum by descending float32 reward; ties by ascending keyed hash of the
    uid, then by position. A record passes iff rank <= cut.

    Raises:
        ValueError: a reward is not finite, or a stratum has no keep.
    """
    rewards = pl.col("reward").cast(pl.Float32) + pl.lit(0.0, pl.Float32)  # -0.0 equals 0.0
    rows = contenders.select("stratum", rewards).with_row_index("at")
    odd = rows.filter(~pl.col("reward").is_finite())
    if not odd.is_empty():
        raise ValueError(f"contender {odd['at'][0]} has the reward {odd['reward'][0]}")
    rank = pl.repeat(None, rows.height, dtype=pl.UInt32, eager=True)
    cut = rank.clone()
    for stratum in rows["stratum"].unique().sort():
        members = rows.filter(pl.col("stratum") == stratum).select("at", "reward").drop_nulls()
        if members.is_empty():
            continue
        if stratum not in keeps:
            raise ValueError(f"no keep for stratum {stratum!r}")
        order = _in_order(members, contenders["uid"], seed)
        numbers = pl.int_range(1, order.len() + 1, dtype=pl.UInt32, eager=True)
        rank = rank.scatter(order, numbers)
        cut = cut.scatter(order, quota(keeps[stratum], order.len()))
    return pl.DataFrame({"rank": rank, "cut": cut})


def smallest_gaps(placed: pl.DataFrame) -> dict[str, float]:
    """Returns per stratum the lowest passing reward minus the highest failing one.

    `placed` has stratum, reward, rank and cut. A stratum where all or none pass has no gap and is
    left out.
    """
    passes = pl.col("rank") <= pl.col("cut")
    reward = pl.col("reward").cast(pl.Float64)
    gaps = (
        placed.group_by("stratum")
        .agg((reward.filter(passes).min() - reward.filter(~passes).max()).alias("gap"))
        .drop_nulls("gap")
        .sort("stratum")
    )
    return dict(gaps.select("stratum", "gap").iter_rows())


def _in_order(members: pl.DataFrame, uids: pl.Series, seed: int) -> pl.Series:
    """Returns the `at` of one stratum's records (at, reward), the best first."""
    ranked = members.sort("reward", descending=True)
    as_before = (pl.col("reward") == pl.col("reward").shift(1)).fill_null(value=False)
    tied = ranked.with_row_index("rank").filter(as_before | as_before.shift(-1, fill_value=False))
    # The ties take the ranks that they have together, each group in the order of its hashes.
    hashes = keyed_hashes(uids.gather(tied["at"]), seed=seed).alias("tie")
    sorted_ties = tied.with_columns(hashes).sort(
        "reward", "tie", "at", descending=[True, False, False]
    )
    return ranked["at"].scatter(tied["rank"], sorted_ties["at"])
