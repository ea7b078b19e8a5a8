"""Forms of a REST body: msgpack, gzip, and what is neither."""

import gzip

import msgpack
import pytest

from align2llava.services.errors import InvalidRequestError, TooLargeError
from align2llava.services.rest_bodies import is_whole, json_of_msgpack, unpacked


@pytest.mark.parametrize(
    "packed",
    [b"\xc1", b"\x81", msgpack.packb({1: b"x"}), msgpack.packb(msgpack.ExtType(5, b""))],
    ids=["reserved byte", "cut", "number as a key", "extension"],
)
def test_msgpack_that_json_cannot_say_is_invalid(packed: bytes):
    with pytest.raises(InvalidRequestError):
        json_of_msgpack(packed)


def test_msgpack_error_quotes_no_text_of_the_caller():
    with pytest.raises(InvalidRequestError) as refused:
        json_of_msgpack(b"\xa7secret\xff")
    assert (
        refused.value.message == "the body is no msgpack we can read: a text is not UTF-8 at byte 6"
    )


def test_gzip_of_several_members_is_unpacked_whole():
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    assert unpacked(packed, max_bytes=7) == b"one two"


@pytest.mark.parametrize("num_members", [1, 3])
def test_gzip_beyond_the_limit_is_too_large(num_members: int):
    packed = gzip.compress(bytes(10_000_000)) * num_members
    with pytest.raises(TooLargeError, match="over 1000 bytes unpacked"):
        unpacked(packed, max_bytes=1000)


@pytest.mark.parametrize(
    "packed",
    [b"{}", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"more"],
    ids=["no gzip", "cut", "something behind it"],
)
def test_gzip_that_is_none_is_invalid_and_named(packed: bytes):
    with pytest.raises(InvalidRequestError, match="content-encoding is gzip, but it is"):
        unpacked(packed, max_bytes=1000)


@pytest.mark.parametrize("text", ["", "\u00b2", "\u0661", "-1", "1.0", " 1"])
def test_only_ascii_digits_are_a_whole_number(text: str):
    assert not is_whole(text)
    assert is_whole("10")
