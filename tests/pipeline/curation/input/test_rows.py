import io

import pyarrow as pa

from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.rows import ROWS, Row, Span, batch_of


def test_batch_holds_a_row_of_each_record_and_what_it_lacks_as_null():
    row = Row(
        position=3,
        uid=None,
        id_json=None,
        type="unknown",
        image=None,
        fault=Fault(code="invalid_json", message="no JSON"),
        place=Span(file=1, offset=7, num_bytes=9),
    )
    batch = batch_of([row, row._replace(position=4)])
    table = pa.ipc.open_stream(io.BytesIO(batch.data)).read_all()
    assert table.schema.equals(ROWS)
    assert batch.num_rows == table.num_rows == 2
    first = table.to_pylist()[0]
    assert (first["position"], first["code"], first["file"], first["offset"]) == (
        3,
        "invalid_json",
        1,
        7,
    )
    assert first["uid"] is first["image"] is None


def test_no_rows_are_a_batch_too():
    assert batch_of([]).num_rows == 0
