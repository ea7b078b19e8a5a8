"""Parquet tables of a run: written whole with their schema, read back with the schema checked."""

import io
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align2llava.pipeline.curation.disk.files import write_next_part
from align2llava.pipeline.curation.layout import DECISIONS, REWRITES, SCORES
from align2llava.pipeline.errors import RunError


class TableKind(Enum):
    """The tables of a run, each with its schema."""

    DECISIONS = DECISIONS
    SCORES = SCORES
    REWRITES = REWRITES


def write_part(folder: Path, kind: TableKind, table: pl.DataFrame) -> Path:
    """Writes rows as the next part of a folder and returns its path.

    Raises:
        StoreError: the write failed.
    """
    return write_next_part(folder, "parquet", _bytes_of(table, kind))


def read_table(path: Path, kind: TableKind) -> pl.DataFrame:
    """Returns a parquet file of a kind.

    Raises:
        RunError: it is none, or of another schema (written by another version).
    """
    return read_columns(path, kind, kind.value.names)


def read_columns(path: Path, kind: TableKind, columns: Sequence[str]) -> pl.DataFrame:
    """Returns some columns of a parquet file of a kind; as `read_table`."""
    check_kind(path, kind)
    try:
        return pl.read_parquet(path, columns=list(columns))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def scan_tables(paths: list[Path], kind: TableKind) -> pl.LazyFrame:
    """Returns the rows of parquet files of a kind, one after the other; there is one at least.

    Raises:
        RunError: one cannot be read, or is of another schema.
    """
    for path in paths:
        check_kind(path, kind)
    return pl.scan_parquet(paths)


def check_kind(path: Path, kind: TableKind) -> None:
    """Checks that a file is a table of a kind, by its schema.

    Raises:
        RunError: it is none, or of another schema (written by another version).
    """
    try:
        is_ours = pq.read_schema(path).equals(kind.value)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not is_ours:
        raise RunError(f"{path} was written by another version of a2l; take a new --run-dir")


def _bytes_of(table: pl.DataFrame, kind: TableKind) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table.to_arrow().cast(kind.value), buffer, compression="zstd")
    return buffer.getvalue()
