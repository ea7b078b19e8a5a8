"""Forms of a REST body: msgpack, gzip, and what is neither."""

import asyncio
import gzip

import msgpack
import orjson
import pytest
from starlette.datastructures import Headers

from align2llava.clients.wire.schemas import ScoreRequest
from align2llava.services.errors import InvalidRequestError, TooLargeError
from align2llava.services.surfaces.rest.bodies import (
    MSGPACK,
    Body,
    BodyLimits,
    is_whole,
    json_of,
    plain,
    read_body,
    unpacked,
    unpacked_msgpack,
    validated,
)


@pytest.mark.parametrize(
    "packed",
    [b"\xc1", b"\x81", msgpack.packb({1: b"x"}), msgpack.packb(msgpack.ExtType(5, b""))],
    ids=["reserved byte", "cut", "number as a key", "extension"],
)
async def test_msgpack_that_json_cannot_say_is_invalid(packed: bytes):
    with pytest.raises(InvalidRequestError):
        await json_of(Body(parts=[packed], is_msgpack=True), max_items=8)


async def test_msgpack_becomes_json_for_who_reads_json_alone():
    packed = msgpack.packb({"a": [1, b"x"]}) or b""
    assert await json_of(Body(parts=[packed], is_msgpack=True), max_items=8) == b'{"a":[1,"eA=="]}'


def test_msgpack_error_quotes_no_text_of_the_caller():
    with pytest.raises(InvalidRequestError) as refused:
        unpacked_msgpack(b"\xa7secret\xff", limit=10)
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


@pytest.mark.parametrize("body", [b"", b"{", b"[NaN]", b'"\\ud800"', b"[" * 100_000, b"\xff"])
def test_body_that_is_no_json_is_invalid(body: bytes):
    with pytest.raises(InvalidRequestError, match="the body is no JSON: "):
        plain(Body(parts=[body], is_msgpack=False), max_items=8)
    assert plain(Body(parts=[b"{}"], is_msgpack=False), max_items=8) == {}


@pytest.mark.parametrize("head", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"])
def test_msgpack_head_that_promises_much_gets_no_room(head: bytes):
    with pytest.raises(InvalidRequestError):
        unpacked_msgpack(head, limit=10)


BOMBS = {
    "numbers for groups": {"groups": [1] * 500},
    "empty objects": {"groups": [{}] * 500},
    "empty groups": {"groups": [{"items": []}] * 1000},
    "numbers for items": {"groups": [{"items": [1] * 3000}]},
    "unknown members": {str(number): 1 for number in range(3000)},
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("is_msgpack", [False, True])
async def test_much_that_is_wrong_is_told_by_its_first_fault(name: str, is_msgpack: bool):
    data = (msgpack.packb if is_msgpack else orjson.dumps)(BOMBS[name]) or b""
    with pytest.raises((InvalidRequestError, TooLargeError)) as refused:
        await validated(Body(parts=[data], is_msgpack=is_msgpack), ScoreRequest, max_items=512)
    assert " more)" not in refused.value.message


async def test_body_in_very_small_parts_is_held_in_few():
    sent = [b"%c" % (48 + number % 10) for number in range(5_000)] + [b"a" * 2**20] * 3
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in sent]
    messages[-1]["more_body"] = False
    left = iter(messages)
    taken: list[int] = []

    async def receive():
        return next(left)

    loop = asyncio.get_running_loop()
    limits = BodyLimits(max_bytes=2**22, max_values=9, deadline=loop.time() + 60)
    headers = Headers({"content-type": MSGPACK, "transfer-encoding": "chunked"})
    body = await read_body(headers, receive, limits=limits, take=taken.append)
    assert body.data == b"".join(sent)
    assert body.num_bytes == sum(taken) == 5_000 + 3 * 2**20
    assert len(body.parts) <= 4
