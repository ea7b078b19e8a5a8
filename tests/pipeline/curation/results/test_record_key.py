import polars as pl
import pytest

from align2llava.pipeline.curation.results.record_key import find_record
from align2llava.pipeline.errors import RunError


def decisions(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.String, "uid": pl.String}, orient="row")


TWELVE = decisions(
    *((f'"{number + 20:06d}"', f"{number:x}" * 4 + "0" * 28) for number in range(12))
)
NUMBERS = decisions(*((str(11 - at), f"{at:x}" * 32) for at in range(12)))  # ids are numbers


def test_leading_zeros_are_an_id_and_no_position():
    assert find_record(TWELVE, "000023").position == 3
    assert find_record(NUMBERS, "1").position == 1
    with pytest.raises(RunError, match=r"no record has this id .* for position 1 leave the zeros"):
        find_record(NUMBERS, "001")


def test_number_that_is_a_position_and_an_id_says_which_was_taken():
    found = find_record(NUMBERS, "3")
    assert found.position == 3
    assert found.note == (
        "3 was taken as a position; it is also the id of the record at position 8: --id 3"
    )
    assert find_record(NUMBERS, "3", is_id=True).position == 8


def test_number_out_of_range_is_refused_with_the_range():
    with pytest.raises(RunError, match="position 23 of 0-11: there is none"):
        find_record(TWELVE, "23")


def test_number_out_of_range_that_is_an_id_is_taken_as_one():
    found = find_record(decisions(("900", "a" * 32), ("901", "b" * 32)), "901")
    assert (found.position, found.note) == (1, "901 was taken as an id")


def test_number_that_is_a_position_and_the_start_of_a_uid_says_so():
    run = decisions(*((None, f"{at:032x}" if at != 4 else "12" * 16) for at in range(1300)))
    assert find_record(run, "1212").note == (
        "1212 was taken as a position; it is also the start of the uid of the record at "
        "position 4: give more of it"
    )


def test_id_of_several_records_names_their_positions():
    run = decisions(('"a"', None), ('"b"', None), ('"a"', None))
    with pytest.raises(RunError, match="2 records have it, at positions 0, 2; give a position"):
        find_record(run, "a", is_id=True)


def test_id_as_text_and_as_number_are_both_found():
    run = decisions(('"7"', None), ("8", None))
    assert find_record(run, "7", is_id=True).position == 0
    assert find_record(run, "8", is_id=True).position == 1


def test_unknown_id_that_is_a_position_says_how_to_ask_for_it():
    with pytest.raises(RunError, match="no record of the run has it; for position 3 leave --id"):
        find_record(TWELVE, "3", is_id=True)


@pytest.mark.parametrize("key", ["", "\udcff", "9" * 40, "-1", "+3", "3.0", " 3"])
def test_strange_keys_are_refused_in_one_line(key: str):
    with pytest.raises(RunError) as refused:
        find_record(TWELVE, key)
    assert "\n" not in str(refused.value)


def test_text_only_ids_and_uids_need_no_note():
    run = decisions(('"coco_12"', "ab" * 16), ('"abab"', "cd" * 16))
    assert find_record(run, "coco_12").note is None
    assert find_record(run, "CDCD").position == 1
    assert find_record(run, "abab").note == (
        "abab was taken as an id; it is also the start of the uid of the record at position 0"
    )
