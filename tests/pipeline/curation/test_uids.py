import hashlib

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align2llava.pipeline.curation.uids import as_number, keyed_hashes, with_numbers


@given(uids=st.lists(st.binary(min_size=16, max_size=16)))
def test_uids_are_numbers_and_back(uids: list[bytes]):
    texts = pl.DataFrame({"uid": [uid.hex() for uid in uids]}, schema={"uid": pl.String})
    numbers = texts.select(as_number())["uid"]
    assert numbers.dtype == pl.UInt128
    assert [number.to_bytes(16, "big") for number in numbers] == uids


def test_keyed_hash_is_blake2b_of_the_bytes_of_a_uid():
    uids = [bytes(range(16)), b"\xff" * 16, b"\x00" * 16]
    numbers = pl.Series("uid", [int.from_bytes(uid, "big") for uid in uids], dtype=pl.UInt128)
    for person in (b"", b"somebody"):
        found = keyed_hashes(numbers, seed=7, person=person)
        key = (7).to_bytes(8, "little")
        wanted = [hashlib.blake2b(uid, key=key, digest_size=8, person=person) for uid in uids]
        assert [number.to_bytes(8, "big") for number in found] == [one.digest() for one in wanted]
        assert found.dtype == pl.UInt64
    assert keyed_hashes(numbers.head(0), seed=7).dtype == pl.UInt64


@pytest.mark.parametrize("num_rows", [0, 3, 65_537])
def test_uids_of_a_table_are_turned_into_numbers(num_rows: int):
    uids = [f"{number:032x}" for number in range(num_rows)]
    table = pl.DataFrame(
        {"uid": uids, "position": range(num_rows)}, schema_overrides={"uid": pl.String}
    )
    found = with_numbers(table)
    assert found["uid"].dtype == pl.UInt128
    assert found["uid"].to_list() == found["position"].to_list() == list(range(num_rows))


def test_record_without_a_uid_has_no_number():
    assert pl.DataFrame({"uid": [None, "f" * 32]}).select(as_number())["uid"].to_list() == [
        None,
        2**128 - 1,
    ]
