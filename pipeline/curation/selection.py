"""Selection: which records pass a stage. Pure; knows no files, no models, no clock.

The quota is exact, ties are broken by a keyed hash of the uid, and the outcome does not depend on
the order of the input.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal

import polars as pl


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

    Contenders have position, uid (32 hex digits), stratum and reward. Within a stratum by
    descending float32 reward; ties by ascending keyed hash of the uid, then by position. A record
    passes iff rank <= cut.

    Raises:
        ValueError: a reward is not finite, or a stratum has no keep.
    """
    rewards = pl.col("reward").cast(pl.Float32) + pl.lit(0.0, pl.Float32)  # -0.0 equals 0.0
    rows = contenders.select("position", "uid", "stratum", rewards)
    odd = rows.filter(~pl.col("reward").is_finite())
    if not odd.is_empty():
        raise ValueError(f"record {odd['uid'][0]} has the reward {odd['reward'][0]}")
    cuts = _cuts(rows, keeps)
    return (
        _with_ties(rows, seed)
        .sort("stratum", "reward", "tie", "position", descending=[False, True, False, False])
        .with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("stratum").alias("rank"))
        .join(cuts, on="stratum")
        .select("position", "rank", "cut")
    )


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


def _cuts(rows: pl.DataFrame, keeps: Mapping[str, Decimal]) -> pl.DataFrame:
    counts = dict(rows.group_by("stratum").len().sort("stratum").iter_rows())
    missing = [stratum for stratum in counts if stratum not in keeps]
    if missing:
        raise ValueError(f"no keep for stratum {missing[0]!r}")
    cuts = [quota(keeps[stratum], number) for stratum, number in counts.items()]
    return pl.DataFrame(
        {"stratum": list(counts), "cut": cuts}, schema={"stratum": pl.String, "cut": pl.Int64}
    )


def _with_ties(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Returns the rows with a `tie` where another of the stratum has the same reward, else 0."""
    is_tied = pl.struct("stratum", "reward").is_duplicated()
    tied = rows.filter(is_tied).select("position", "uid")
    key = seed.to_bytes(8, "little")
    ties = [
        int.from_bytes(hashlib.blake2b(bytes.fromhex(uid), key=key, digest_size=8).digest(), "big")
        for uid in tied["uid"]
    ]
    known = tied.select("position").with_columns(pl.Series("tie", ties, dtype=pl.UInt64))
    return rows.join(known, on="position", how="left").with_columns(pl.col("tie").fill_null(0))
