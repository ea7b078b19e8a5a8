"""Counting passes: at least what a parser makes of the same bytes, exactly where they are plain."""

import msgpack
import orjson
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.services.errors import InvalidRequestError, TooLargeError
from align2llava.services.surfaces.counting import (
    JsonCount,
    max_parts,
    max_values,
    msgpack_values,
    protobuf_values,
    refuse_wide,
)

MANY = 10**9
SCORE = pb.DESCRIPTOR.message_types_by_name["ScoreRequest"]
REVIEW = pb.DESCRIPTOR.message_types_by_name["ReviewRequest"]

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=("Cs",))) | st.text('"\\[{,:}]', max_size=8)
PLAIN = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=40,
)


def num_values(value: object) -> int:
    """Values and member names; an empty list or object counts once more in JSON's upper bound."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(num_values, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(num_values, value))
    return 1


def num_empty(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    inside = list(value.values()) if isinstance(value, dict) else value
    return sum(map(num_empty, inside)) if inside else 1


def json_values(data: bytes, *, step: int) -> int:
    count = JsonCount(limit=MANY)
    for start in range(0, len(data), step):
        count.feed(data[start : start + step])
    return count.num_values


@given(PLAIN, st.integers(1, 7), st.sampled_from([0, orjson.OPT_INDENT_2]))
def test_json_count_agrees_with_the_parser_however_the_body_is_cut(
    value: object, step: int, option: int
):
    data = orjson.dumps(value, option=option)
    assert json_values(data, step=step) == num_values(value) + num_empty(value)


@given(st.binary(max_size=60), st.integers(1, 7))
def test_json_count_of_any_bytes_does_not_depend_on_the_cuts(data: bytes, step: int):
    assert json_values(data, step=step) == json_values(data, step=len(data) + 1)


@given(PLAIN.filter(lambda value: not isinstance(value, float)))
def test_msgpack_count_agrees_with_the_parser(value: object):
    data = msgpack.packb([value] * 2) or b""
    expected = num_values([value] * 2)
    assert msgpack_values(data, limit=len(data)) == len(data) >= expected
    walked = msgpack_values(data + b"\xd9\xff" + bytes(255), limit=len(data) + 1)
    assert walked == min(expected + 1, len(data) + 2)


@pytest.mark.parametrize(
    "packed",
    [
        msgpack.packb(bytes(300)),
        msgpack.packb("x" * 70_000),
        msgpack.packb(msgpack.ExtType(5, b"x" * 99)),
    ],
    ids=["bytes", "text", "extension"],
)
def test_long_msgpack_value_is_one(packed: bytes):
    assert msgpack_values(packed, limit=5) == 1


TEXT = st.text(max_size=5)
ITEMS = st.builds(pb.Item, id=TEXT, questions=st.lists(TEXT, max_size=4))
IMAGES = st.builds(pb.Image, sha256=TEXT, data=st.binary(max_size=9))
GROUPS = st.builds(pb.Group, image=IMAGES, items=st.lists(ITEMS, max_size=4))
REQUESTS = st.builds(pb.ScoreRequest, groups=st.lists(GROUPS, max_size=4))


def num_fields(message: Message) -> int:
    total = 0
    for field, value in message.ListFields():
        values = list(value) if field.is_repeated else [value]
        total += len(values)
        if field.message_type is not None:
            total += sum(map(num_fields, values))
    return total


@given(REQUESTS)
def test_protobuf_count_agrees_with_the_parser(request: pb.ScoreRequest):
    # Padding of one unknown field makes the message long enough to be walked.
    expected = num_fields(request) + 1
    padding = b"\xfa\x3f\xff\x7f" + bytes(0x3FFF)
    data = request.SerializeToString() + padding
    assert len(data) > 2 * expected
    assert protobuf_values(data, SCORE, limit=expected) == expected
    assert pb.ScoreRequest.FromString(data).groups == request.groups


@given(st.binary(max_size=200))
def test_protobuf_count_ends_on_any_bytes(data: bytes):
    count = protobuf_values(data, SCORE, limit=0)
    assert 0 <= count <= max(1, len(data) // 2)


@pytest.mark.parametrize(
    "data",
    [b"\x0a\x00" * 1000, b"\x98\x06\x01" * 1000, b"\x0a\xd0\x0f" + b"\x12\x00" * 1000],
    ids=["groups", "unknown fields", "items"],
)
def test_many_empty_messages_are_counted(data: bytes):
    assert protobuf_values(data, SCORE, limit=100) == 101


def test_most_of_a_request_are_texts():
    turn = pb.Turn(question="q", answer="a")
    item = pb.ReviewItem(id="a", original=turn, rewrite=turn)
    review = pb.ReviewRequest(items=[item] * 1000)
    review.items[0].id = "a" * 100_000  # long enough to be walked
    data = review.SerializeToString()
    values = protobuf_values(data, REVIEW, limit=40_000, max_parts=max_parts(1000))
    assert values == num_fields(review)
    refused = [b"\x0a\x00" * 50_000, data + b"\x98\x06\x01" * 3_065]
    for one in refused:
        assert protobuf_values(one, REVIEW, limit=40_000, max_parts=max_parts(1000)) == 40_001


def test_unknown_group_hides_nothing_that_follows():
    # A text that is no message, where a group of fields we do not know has one of our numbers in it.
    hidden = b"\x9b\x06" + b"\x0a\x02\xff\xff" + b"\x9c\x06"
    data = hidden + b"\x0a\x00" * 1000
    assert len(pb.ScoreRequest.FromString(data).groups) == 1000
    assert protobuf_values(data, SCORE, limit=500) == 501


@pytest.mark.parametrize("body", [b"[" + b"1," * 5000, b'{"a":' * 5000, b'["",' + b'"",' * 5000])
def test_json_beyond_the_limit_is_refused_while_it_comes(body: bytes):
    with pytest.raises(TooLargeError, match="more than 4096 values"):
        JsonCount(limit=max_values(0)).feed(body)


def test_object_with_more_members_than_any_message_is_refused():
    with pytest.raises(InvalidRequestError, match="321 members"):
        refuse_wide([{"a": {str(n): n for n in range(321)}}])
    refuse_wide([{str(n): n for n in range(320)}] * 3)
