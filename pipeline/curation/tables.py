"""Parquet tables of a run: written from rows with their schema, read back with the schema checked."""

import io
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.curation.durable import next_part, write_durably
from pipeline.curation.layout import DECISIONS, REWRITES, SCORES
from pipeline.errors import RunError


class TableKind(Enum):
    """The tables of a run, each with its schema."""

    DECISIONS = DECISIONS
    SCORES = SCORES
    REWRITES = REWRITES


def write_part(folder: Path, kind: TableKind, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows as the next part of a folder.

    Raises:
        StoreError: the write failed.
    """
    write_table(next_part(folder, "parquet"), kind, rows)


def write_table(path: Path, kind: TableKind, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows as one parquet file, whole or not at all.

    Raises:
        StoreError: the write failed.
    """
    buffer = io.BytesIO()
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=kind.value)
    pq.write_table(table, buffer, compression="zstd")
    write_durably(path, buffer.getvalue())


def read_table(path: Path, kind: TableKind) -> pl.DataFrame:
    """Returns a parquet file of a kind.

    Raises:
        RunError: it is none, or of another schema (written by another version).
    """
    try:
        data = path.read_bytes()
        schema = pq.read_schema(io.BytesIO(data))
        is_ours = schema.equals(kind.value)
        table = pl.read_parquet(io.BytesIO(data))
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not is_ours:
        raise RunError(f"{path} was written by another version of a2l; take a new --run-dir")
    return table
