from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.curation.input.files import ArrayStyle
from align2llava.pipeline.curation.input.rows import Row, Span, batch_of
from align2llava.pipeline.curation.input.table import RecordTable, RecordTableWriter
from align2llava.pipeline.curation.layout import DECISIONS
from align2llava.pipeline.curation.store.decisions import NAMES, write_decisions
from align2llava.pipeline.errors import StoreError


def table_of(path: Path, num_records: int) -> RecordTable:
    writer = RecordTableWriter(path)
    rows = [
        Row(
            position=position,
            uid=f"{position:032x}",
            id_json=None if position == 1 else f'"{position}"',
            type="detail",
            image=None,
            fault=None,
            place=Span(file=0, offset=0, num_bytes=1),
        )
        for position in range(num_records)
    ]
    writer.write(batch_of(rows))
    return writer.finish([], ArrayStyle())


def names_of(path: Path, num_records: int, *, num_rows: int = 100) -> Iterator[pl.DataFrame]:
    return table_of(path, num_records).slices(*NAMES, num_rows=num_rows)


def decisions(num_records: int) -> pl.DataFrame:
    names = dict.fromkeys(("type", "stage", "decision", "reason"), "x")
    numbers = dict.fromkeys(DECISIONS.names[4:10], 1)
    rows = [{"position": position} | names | numbers for position in range(num_records)]
    kinds = dict.fromkeys(names, pl.Categorical)
    return pl.DataFrame(rows).with_columns(pl.col(name).cast(kind) for name, kind in kinds.items())


@pytest.mark.parametrize("slice_rows", [2, 3, 100])
def test_decisions_are_written_in_slices_with_the_names_of_the_records(
    tmp_path: Path, slice_rows: int
):
    path = tmp_path / "decisions.parquet"
    write_decisions(path, decisions(7), names=names_of(tmp_path / "names", 7, num_rows=slice_rows))
    found = pq.read_table(path)
    assert found.schema.equals(DECISIONS)
    assert found["uid"].to_pylist() == [f"{position:032x}" for position in range(7)]
    assert found["id"].to_pylist()[:3] == ['"0"', None, '"2"']
    assert found["position"].to_pylist() == list(range(7))
    assert set(found["stage"].to_pylist()) == {"x"}


def test_decisions_that_are_not_those_of_the_records_are_never_written(tmp_path: Path):
    path = tmp_path / "decisions.parquet"
    with pytest.raises(AssertionError):
        write_decisions(path, decisions(6), names=names_of(tmp_path / "names", 7))
    assert not path.exists()


def test_failed_write_says_so(tmp_path: Path):
    (tmp_path / "nowhere").write_bytes(b"a file")
    path = tmp_path / "nowhere" / "decisions.parquet"
    with pytest.raises(StoreError, match="cannot write"):
        write_decisions(path, decisions(1), names=names_of(tmp_path / "names", 1))
