"""Rows: what the driver knows of an input record without its texts, one by one and as columns.

Values only; knows no files.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.records import Record
from align2llava.pipeline.curation.input.types import TypeRule


class RawElement(NamedTuple):
    """One record's bytes and where they begin in the decompressed file.

    `too_long` = a line over the limit, whose bytes are cut off.
    """

    raw: bytes
    offset: int
    too_long: bool = False


class ImageRef(NamedTuple):
    """A record's image file, the sha256 of its bytes in hex, and how many they are."""

    path: Path
    sha256: str
    num_bytes: int


class Span(NamedTuple):
    """Where a record's bytes are: the input's number, and the bytes of it, decompressed."""

    file: int
    offset: int
    num_bytes: int


class Row(NamedTuple):
    """One input record, without its texts.

    `position` counts over all inputs in order. `uid` and `id_json` are None where the record
    cannot be parsed. `fault` = quarantined at stage input. `image` None without a fault = text only.
    `num_turns`, `num_answers` (candidates of all turns) and words (what blanks separate; candidate
    0 stands for an answer) are 0 where the record cannot be used whatever its image is, and so is
    `num_image_tokens`, the `<image>` of all questions.
    """

    position: int
    uid: str | None
    id_json: str | None
    type: str
    image: ImageRef | None
    fault: Fault | None
    place: Span
    type_rule: TypeRule = TypeRule.NONE
    num_image_tokens: int = 0
    num_turns: int = 0
    num_answers: int = 0
    question_words: int = 0
    answer_words: int = 0

    @property
    def is_text_only(self) -> bool:
        """Returns whether this is a usable record without an image."""
        return self.fault is None and self.image is None


class LoadedRecord(NamedTuple):
    """A usable row with its texts and its bytes, read again from the input."""

    row: Row
    uid: str
    record: Record
    raw: bytes


ROWS = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("uid", pa.string()),
        pa.field("id", pa.string()),
        pa.field("type", pa.string(), nullable=False),
        pa.field("image", pa.string()),
        pa.field("image_sha256", pa.string()),
        pa.field("image_bytes", pa.int64()),
        pa.field("code", pa.string()),
        pa.field("message", pa.string()),
        pa.field("type_rule", pa.string(), nullable=False),
        pa.field("num_image_tokens", pa.int32(), nullable=False),
        pa.field("num_turns", pa.int32(), nullable=False),
        pa.field("num_answers", pa.int32(), nullable=False),
        pa.field("question_words", pa.int64(), nullable=False),
        pa.field("answer_words", pa.int64(), nullable=False),
        pa.field("file", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
    ]
)


class RowBatch(NamedTuple):
    """Rows as an Arrow stream of ROWS, and how many they are."""

    num_rows: int
    data: bytes


def batch_of(rows: Sequence[Row]) -> RowBatch:
    """Returns rows as columns."""
    columns = list(zip(*map(_cells, rows), strict=True)) or [()] * len(ROWS)
    arrays = [pa.array(cells, field.type) for cells, field in zip(columns, ROWS, strict=True)]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, ROWS) as stream:
        stream.write_batch(pa.record_batch(arrays, schema=ROWS))
    return RowBatch(num_rows=len(rows), data=sink.getvalue())


def _cells(row: Row) -> tuple[object, ...]:
    image, fault = row.image, row.fault
    return (
        row.position,
        row.uid,
        row.id_json,
        row.type,
        None if image is None else str(image.path),
        None if image is None else image.sha256,
        None if image is None else image.num_bytes,
        None if fault is None else str(fault.code),
        None if fault is None else fault.message,
        str(row.type_rule),
        row.num_image_tokens,
        row.num_turns,
        row.num_answers,
        row.question_words,
        row.answer_words,
        row.place.file,
        row.place.offset,
        row.place.num_bytes,
    )
