from pathlib import Path

import orjson

from align2llava.pipeline.curation.input.row_reader import Chunk, ReadingRules, RowReader
from align2llava.pipeline.curation.input.rows import RawElement, Row
from tests.pipeline.curation.small_world import record, write_world


def rules(images_root: Path) -> ReadingRules:
    return ReadingRules(
        images_root=str(images_root),
        link_roots=(),
        max_text_chars=1000,
        max_image_bytes=10_000,
        max_pixels=10_000,
    )


def rows_of(tmp_path: Path, elements: list[RawElement]) -> list[Row]:
    write_world(tmp_path, [record(0)])
    chunk = Chunk(position=5, file=2, configured_type="auto", elements=elements)
    return RowReader(rules(tmp_path / "images")).rows(chunk)


def test_rows_say_where_their_records_are(tmp_path: Path):
    raw = orjson.dumps(record(0))
    rows = rows_of(tmp_path, [RawElement(raw=raw, offset=0), RawElement(raw=raw, offset=900)])
    assert [row.position for row in rows] == [5, 6]
    assert [row.place for row in rows] == [(2, 0, len(raw)), (2, 900, len(raw))]
    assert rows[0].uid == rows[1].uid
    assert rows[0].image is rows[1].image  # looked at once


def test_words_and_answers_are_counted(tmp_path: Path):
    one = record(0, turns=2)
    one["conversations"][0]["value"] = "<image>\nWhat  is\tit?"
    one["conversations"][1]["value"] = ["two words", "and these three"]
    one["conversations"][2]["value"] = "And"
    one["conversations"][3]["value"] = "now"
    (row,) = rows_of(tmp_path, [RawElement(raw=orjson.dumps(one), offset=0)])
    assert (row.num_turns, row.num_answers) == (2, 3)
    assert (row.question_words, row.answer_words) == (4, 3)


def test_line_that_is_too_long_is_never_parsed(tmp_path: Path):
    (row,) = rows_of(tmp_path, [RawElement(raw=b"{}", offset=0, too_long=True)])
    assert row.fault is not None
    assert row.fault.code == "too_large"
    assert row.uid is None
