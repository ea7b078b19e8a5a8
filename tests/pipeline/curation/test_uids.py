import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curation.uids import as_bytes, as_number


@given(uids=st.lists(st.binary(min_size=16, max_size=16)))
def test_uids_are_numbers_and_back(uids: list[bytes]):
    texts = pl.DataFrame({"uid": [uid.hex() for uid in uids]}, schema={"uid": pl.String})
    numbers = texts.select(as_number())["uid"]
    assert numbers.dtype == pl.UInt128
    assert [as_bytes(number) for number in numbers] == uids


def test_record_without_a_uid_has_no_number():
    assert pl.DataFrame({"uid": [None, "f" * 32]}).select(as_number())["uid"].to_list() == [
        None,
        2**128 - 1,
    ]
