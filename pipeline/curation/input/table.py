"""The rows of one input as a table in the scratch folder: written once in order, read in order.

A cache: it is found again by the input's files as they stand, and made again where it is missing.
Never the whole table is held in memory but for the columns that a decision needs.
"""

import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from align2llava.pipeline.curation.disk.scratch import prune
from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.files import ArrayStyle
from align2llava.pipeline.curation.input.rows import ROWS, ImageRef, Row, RowBatch, Span
from align2llava.pipeline.curation.input.types import TypeRule
from align2llava.pipeline.curation.layout import InputEntry
from align2llava.pipeline.errors import StoreError

BATCH_ROWS = 4096
_INPUTS_KEY = b"inputs"
_STYLE_KEY = b"style"


class RecordTable:
    """The rows of one input, by position."""

    def __init__(self, path: Path) -> None:
        """Opens a table; it stays readable when its file is replaced or removed.

        Raises:
            OSError: there is none.
            pa.ArrowException: it is broken.
        """
        self._path = path
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        self._metadata = pq.ParquetFile(self._file).metadata.metadata

    @property
    def style(self) -> ArrayStyle:
        """Returns what stands around the elements of the first file, where it is an array."""
        opening, between, closing = orjson.loads(self._metadata[_STYLE_KEY])
        return ArrayStyle(
            opening=opening.encode("latin-1"),
            between=between.encode("latin-1"),
            closing=closing.encode("latin-1"),
        )

    @property
    def inputs(self) -> tuple[InputEntry, ...]:
        """Returns the input files it was made of."""
        return tuple(orjson.loads(self._metadata[_INPUTS_KEY]))

    def lazy(self) -> pl.LazyFrame:
        """Returns the table, of which only what is asked for is read."""
        return pl.scan_parquet(self._path)

    def frame(self, *columns: str) -> pl.DataFrame:
        """Returns columns of all rows, in order of position."""
        return self.lazy().select(columns).collect()

    def slices(self, *columns: str, num_rows: int) -> Iterator[pl.DataFrame]:
        """Yields columns of all rows in order of position, about `num_rows` at once."""
        held: list[pl.DataFrame] = []
        table = self._opened()
        for batch in table.iter_batches(num_rows, columns=list(columns), use_threads=False):
            found = pl.from_arrow(batch)
            assert isinstance(found, pl.DataFrame)
            held.append(found)
            if sum(one.height for one in held) >= num_rows:
                yield pl.concat(held)
                held = []
        if held:
            yield pl.concat(held)

    def rows(self, positions: pl.Series) -> Iterator[Row]:
        """Yields the rows at `positions`, which ascend; reads no group of rows without one."""
        table = self._opened()
        at = first = 0
        for number in range(table.num_row_groups):
            end = first + table.metadata.row_group(number).num_rows  # positions have no gap
            past = int(positions.search_sorted(end, side="left"))
            if at < past:
                found = pl.from_arrow(table.read_row_group(number, use_threads=False))
                assert isinstance(found, pl.DataFrame)
                yield from _rows_of(found[positions[at:past] - first])
            at, first = past, end

    def _opened(self) -> pq.ParquetFile:
        return pq.ParquetFile(pa.PythonFile(_PreadFile(self._file.fileno()), "r"), pre_buffer=False)


class _PreadFile:
    """A file object with an offset of its own (`os.pread`), so that threads can share one descriptor."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        size = os.fstat(self._descriptor).st_size
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}[whence]

    def read(self, num_bytes: int) -> bytes:
        data = os.pread(self._descriptor, num_bytes, self._at)
        self._at += len(data)
        return data


def can_be_scored() -> pl.Expr:
    """Returns which records are scored: those with an image and without a fault."""
    return pl.col("code").is_null() & pl.col("image_sha256").is_not_null()


class RecordTableWriter:
    """Writes a table beside its place; `finish` puts it there whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._held: list[RowBatch] = []
        try:
            self._writer = pq.ParquetWriter(self._beside, ROWS, compression="zstd")
        except OSError as error:
            raise StoreError(f"cannot write {self._beside}: {error.strerror}") from error

    def write(self, rows: RowBatch) -> None:
        """Takes the next rows.

        Raises:
            StoreError: the write failed.
        """
        self._held.append(rows)
        if sum(batch.num_rows for batch in self._held) >= BATCH_ROWS:
            self._flush()

    def finish(self, inputs: Sequence[InputEntry], style: ArrayStyle) -> RecordTable:
        """Returns the whole table; the oldest of many tables are removed.

        Raises:
            StoreError: the write failed.
        """
        self._flush()
        try:
            around = (style.opening, style.between, style.closing)
            texts = [one.decode("latin-1") for one in around]
            metadata = {_INPUTS_KEY: orjson.dumps(list(inputs)), _STYLE_KEY: orjson.dumps(texts)}
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
            self._beside.replace(self._path)
            table = RecordTable(self._path)
            prune(self._path.parent, "records-*.parquet")
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error
        return table

    def discard(self) -> None:
        """Removes what was not finished."""
        with suppress(OSError):  # a full disk was told of before
            self._writer.close()
        self._beside.unlink(missing_ok=True)

    def _flush(self) -> None:
        try:
            tables = [pa.ipc.open_stream(batch.data).read_all() for batch in self._held]
            self._writer.write_table(pa.concat_tables([ROWS.empty_table(), *tables]))
        except OSError as error:
            raise StoreError(f"cannot write {self._beside}: {error.strerror}") from error
        self._held.clear()


def _rows_of(table: pl.DataFrame) -> Iterator[Row]:
    for cells in table.select(ROWS.names).iter_rows():
        position, uid, id_json, kind, path, sha256, size, code, message, rule, *numbers = cells
        image_tokens, turns, answers, question_words, answer_words, file, offset, num_bytes = (
            numbers
        )
        image = None
        if path is not None:
            image = ImageRef(path=Path(path), sha256=sha256, num_bytes=size)
        yield Row(
            position=position,
            uid=uid,
            id_json=id_json,
            type=kind,
            image=image,
            fault=None if code is None else Fault(code=code, message=message),
            type_rule=TypeRule(rule),
            num_image_tokens=image_tokens,
            num_turns=turns,
            num_answers=answers,
            question_words=question_words,
            answer_words=answer_words,
            place=Span(file=file, offset=offset, num_bytes=num_bytes),
        )
