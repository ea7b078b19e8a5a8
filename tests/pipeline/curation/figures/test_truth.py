from pathlib import Path

import pytest

from align2llava.pipeline.curation.figures.truth import (
    Truth,
    read_truth,
    truth_figures,
    wilson_interval,
)
from align2llava.pipeline.errors import InputError
from tests.pipeline.curation.tables import decisions_table

GOOD = Truth(is_good=True, defects=())


def bad(*defects: str) -> Truth:
    return Truth(is_good=False, defects=defects)


def write(folder: Path, *lines: str) -> Path:
    path = folder / "truth.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_are_found_by_id_and_type(tmp_path: Path):
    path = write(
        tmp_path,
        '{"id": "7", "type": "detail", "good": true, "defects": []}',
        "",
        '{"id": 7, "type": "detail", "good": false, "defects": ["wrong"]}',
    )
    assert read_truth(path) == {('"7"', "detail"): GOOD, ("7", "detail"): bad("wrong")}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 1 is no truth row"),
        ('{"id": 1, "type": "x", "good": true}', "line 1 is no truth row"),
        ('{"id": 1, "type": "x", "good": 1, "defects": []}', "good is 1"),
        ("[]", "line 1 is no truth row"),
        ("[" * 5000, "line 1 is no truth row"),
        ('{"id": %s}' % ("9" * 5000), "line 1 is no truth row"),
        ('{"id": NaN}', "line 1 is no truth row"),
        (r'{"id": "\ud83d", "type": "x", "good": true, "defects": []}', "line 1 is no truth row"),
        ('{"id": 1, "type": "x", "good": true, "defects": "wrong"}', "a list of texts"),
        ('{"id": 1, "type": "x", "good": true, "defects": [["wrong"]]}', "a list of texts"),
        ('{"id": 1, "type": null, "good": true, "defects": []}', "type must be a text"),
    ],
    ids=[
        *("broken JSON", "a key is missing", "good is no boolean", "no object", "deep nesting"),
        *("5,000 digits", "NaN", "half a character", "one text", "lists", "no type"),
    ],
)
def test_broken_line_is_refused_with_its_number(tmp_path: Path, line: str, told: str):
    with pytest.raises(InputError, match=told):
        read_truth(write(tmp_path, line))


def test_a_byte_order_mark_is_read_over(tmp_path: Path):
    path = write(tmp_path, '\ufeff{"id": 7, "type": "detail", "good": true, "defects": []}')
    assert read_truth(path) == {("7", "detail"): GOOD}


def test_utf16_is_named(tmp_path: Path):
    path = write(tmp_path)
    path.write_bytes('{"id": 7}'.encode("utf-16"))
    with pytest.raises(InputError, match="is UTF-16; UTF-8 is read"):
        read_truth(path)


def test_repeated_id_and_type_is_refused(tmp_path: Path):
    line = '{"id": 1, "type": "x", "good": true, "defects": []}'
    with pytest.raises(InputError, match="line 2: id 1, type x repeats"):
        read_truth(write(tmp_path, line, line))


def test_missing_file_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        read_truth(tmp_path / "none.jsonl")


def test_share_is_of_records_the_truth_names():
    rows = decisions_table([{"id": str(number)} for number in range(5)])
    truth = {("0", "conversation"): GOOD, ("1", "conversation"): GOOD, ("2", "conversation"): bad()}
    overall, by_type = truth_figures({"kept": rows}, truth).shares
    assert (overall.num_records, overall.num_good, overall.num_unknown) == (5, 2, 2)
    assert overall.share == pytest.approx(2 / 3)
    assert by_type.type == "conversation"


def test_set_that_the_truth_does_not_name_has_no_share():
    (overall, _) = truth_figures({"kept": decisions_table([{}])}, {}).shares
    assert (overall.share, overall.low, overall.high) == (None, None, None)


def test_defects_are_counted_in_each_set():
    rows = decisions_table([{"id": "0"}, {"id": "1"}])
    truth = {("0", "conversation"): bad("wrong", "rambling"), ("1", "conversation"): bad("wrong")}
    figures = truth_figures({"raw": rows, "kept": rows.head(1)}, truth)
    assert {row.defect: row.counts for row in figures.defects} == {
        "rambling": {"raw": 1, "kept": 1},
        "wrong": {"raw": 2, "kept": 1},
    }


def test_wilson_interval_of_a_known_case():
    low, high = wilson_interval(8, 10)
    assert low == pytest.approx(0.4902, abs=1e-4)
    assert high == pytest.approx(0.9433, abs=1e-4)
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)
