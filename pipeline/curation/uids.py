"""Uids as numbers: a decision over a million records holds 16 bytes for each, not a text of 32 digits. Pure."""

from collections.abc import Iterator

import polars as pl

NUM_PARTS = 8


def as_number(column: str = "uid") -> pl.Expr:
    """Returns a column of uids (32 hex digits, or null) as UInt128."""
    return pl.col(column).str.decode("hex").bin.reinterpret(dtype=pl.UInt128, endianness="big")


def in_parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yields the rows in parts, the same uids in the same part: an index over one part is small."""
    number = pl.col("uid") % pl.lit(NUM_PARTS, pl.UInt128)
    for part in range(NUM_PARTS):
        yield rows.filter(number == part)


def as_bytes(uid: int) -> bytes:
    """Returns the 16 bytes of a uid that is a number."""
    return uid.to_bytes(16, "big")
