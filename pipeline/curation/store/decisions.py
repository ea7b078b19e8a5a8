"""`decisions.parquet`: written slice by slice, so that no whole table of texts is ever in memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from align2llava.pipeline.curation.disk.files import whole_file
from align2llava.pipeline.curation.disk.tables import TableKind, scan_tables
from align2llava.pipeline.curation.layout import DECISIONS
from align2llava.pipeline.errors import RunError

NAMES = ("position", "uid", "id")
SLICE_ROWS = 65_536


def write_decisions(path: Path, decisions: pl.DataFrame, *, names: Iterable[pl.DataFrame]) -> None:
    """Writes the decisions with the uid and id of each record, whole or not at all.

    `decisions`: the other columns of DECISIONS, a row per record, by position. `names`: NAMES of
    every record in the same order, in slices.

    Raises:
        StoreError: the write failed; `path` is as it was.
    """
    with (
        whole_file(path) as file,
        pq.ParquetWriter(file, DECISIONS, compression="zstd") as writer,
    ):
        for part in _slices(decisions, names):
            writer.write_table(part.to_arrow().cast(DECISIONS))


def read_decisions(path: Path) -> pl.DataFrame:
    """Returns the columns of DECISIONS by position; names are categories.

    Raises:
        RunError: it is no such file, or of another schema (written by another version).
    """
    rows = scan_tables([path], TableKind.DECISIONS)
    names = pl.col("type", "stage", "decision", "reason").cast(pl.Categorical)
    places = pl.col("^(question|answer)_(rank|cut)$").cast(pl.UInt32)
    try:
        return rows.with_columns(names, places).collect(engine="streaming")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _slices(decisions: pl.DataFrame, names: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    at = 0
    for some in names:
        whole = decisions.slice(at, some.height).join(
            some, on="position", validate="1:1", maintain_order="left"
        )
        assert whole.height == some.height
        yield whole.select(DECISIONS.names)
        at += some.height
    assert at == decisions.height
