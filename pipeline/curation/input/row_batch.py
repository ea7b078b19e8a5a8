"""The rows of one input as columns: what the scan hands on. Knows no files."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from align2llava.pipeline.curation.input.rows import Row

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
