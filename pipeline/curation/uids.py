"""Uids as numbers: a decision over a million records holds 16 bytes for each, not a text of 32 digits. Pure."""

import polars as pl


def as_number(column: str = "uid") -> pl.Expr:
    """Returns a column of uids (32 hex digits, or null) as UInt128."""
    return pl.col(column).str.decode("hex").bin.reinterpret(dtype=pl.UInt128, endianness="big")


def as_bytes(uid: int) -> bytes:
    """Returns the 16 bytes of a uid that is a number."""
    return uid.to_bytes(16, "big")
