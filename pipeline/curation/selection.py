"""Selection: which records pass a stage. Pure; knows no files, no models, no clock.

The quota is exact, ties are broken by a keyed hash of the uid, and the outcome does not depend on
the order of the input.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from functools import partial

import polars as pl

from pipeline.curation.uids import as_bytes


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
    """Returns each contender's `position`, `rank` (1 = best of its stratum) and the stratum's `cut`.

    Contenders have position, uid (UInt128), stratum and reward. Within a stratum by
    descending float32 reward; ties by ascending keyed hash of the uid, then by position. A record
    passes iff rank <= cut.

    Raises:
        ValueError: a reward is not finite, or a stratum has no keep.
    """
    rewards = pl.col("reward").cast(pl.Float32) + pl.lit(0.0, pl.Float32)  # -0.0 equals 0.0
    rows = contenders.select("position", "stratum", rewards)
    odd = rows.filter(~pl.col("reward").is_finite())
    if not odd.is_empty():
        raise ValueError(f"record at {odd['position'][0]} has the reward {odd['reward'][0]}")
    uids = contenders.select("position", "uid")
    placed = [pl.DataFrame(schema=_PLACED)]
    for stratum in rows["stratum"].unique().sort():
        if stratum not in keeps:
            raise ValueError(f"no keep for stratum {stratum!r}")
        members = rows.filter(pl.col("stratum") == stratum).select("position", "reward")
        cut = pl.lit(quota(keeps[stratum], members.height), pl.UInt32).alias("cut")
        placed.append(_ranked(members, uids, seed).select("position", "rank", cut))
    return pl.concat(placed)


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


def _ranked(members: pl.DataFrame, uids: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Returns position and rank of one stratum's records (position, reward)."""
    numbers = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias("rank")
    ranked = members.sort("reward", descending=True).with_columns(numbers)
    as_before = (pl.col("reward") == pl.col("reward").shift(1)).fill_null(value=False)
    ranked = ranked.with_columns((as_before | as_before.shift(-1, fill_value=False)).alias("ties"))
    tied = ranked.filter("ties")
    # The ties take the ranks that they have together, each group in the order of its hashes.
    in_order = (
        tied.select("position", "reward")
        .join(uids, on="position", maintain_order="left")
        .with_columns(_ties(seed))
        .sort("reward", "tie", "position", descending=[True, False, False])
        .select("position", tied["rank"])
    )
    return pl.concat([ranked.filter(~pl.col("ties")).select("position", "rank"), in_order])


def _ties(seed: int) -> pl.Expr:
    """Returns the keyed hash of each uid, ordered as its bytes are."""
    keyed = partial(hashlib.blake2b, key=seed.to_bytes(8, "little"), digest_size=8)

    def hashed(uids: pl.Series) -> pl.Series:
        digests = (keyed(as_bytes(uid)).digest() for uid in uids)
        return pl.Series([int.from_bytes(digest, "big") for digest in digests], dtype=pl.UInt64)

    return pl.col("uid").map_batches(hashed, return_dtype=pl.UInt64).alias("tie")


_PLACED = {"position": pl.Int64, "rank": pl.UInt32, "cut": pl.UInt32}
