"""Uids as numbers: a decision over a million records holds 16 bytes for each, not a text of 32 digits. Pure."""

import hashlib
from collections.abc import Iterator

import polars as pl

NUM_PARTS = 8


def as_number(column: str = "uid") -> pl.Expr:
    """Returns a column of uids (32 hex digits, or null) as UInt128."""
    return pl.col(column).str.decode("hex").bin.reinterpret(dtype=pl.UInt128, endianness="big")


def with_numbers(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows with their uids as UInt128, converted chunk by chunk, so that the peak is one chunk."""
    chunks = [chunk.to_frame().select(as_number()) for chunk in rows["uid"].get_chunks()]
    return rows.with_columns(pl.concat(chunks, rechunk=False).to_series())


def in_parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yields the rows in `NUM_PARTS` parts. Equal uids share a part, so that each part can be indexed alone."""
    number = pl.col("uid") % pl.lit(NUM_PARTS, pl.UInt128)
    for part in range(NUM_PARTS):
        yield rows.filter(number == part)


def keyed_hashes(uids: pl.Series, *, seed: int, person: bytes = b"") -> pl.Series:
    """Returns a hash of each uid, both numbers, as UInt64: ordered as its bytes are.

    `person`: of BLAKE2b; draws of different ones are independent.
    """
    keyed = hashlib.blake2b(key=seed.to_bytes(8, "little"), digest_size=8, person=person)

    def hashed(uid: int) -> int:
        one = keyed.copy()
        one.update(uid.to_bytes(16, "big"))
        return int.from_bytes(one.digest(), "big")

    return uids.map_elements(hashed, return_dtype=pl.UInt64)
