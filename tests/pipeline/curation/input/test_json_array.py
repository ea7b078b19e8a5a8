import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align2llava.pipeline.curation.input import json_array as elements
from align2llava.pipeline.curation.input.json_array import ArraySyntaxError, split_array

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class SmallReads(io.BytesIO):
    """Gives a few bytes at a time, so that every element is cut somewhere."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 7))


@given(
    values=st.lists(VALUES, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    is_ascii=st.booleans(),
    tail=st.sampled_from(["", "\n", " \r\n\t"]),
)
def test_pieces_put_together_are_the_file(
    values: list[object], indent: int | None, is_ascii: bool, tail: str
):
    text = json.dumps(values, indent=indent, ensure_ascii=is_ascii) + tail
    data = text.encode("utf-8", "surrogatepass")
    pieces = list(split_array(SmallReads(data)))
    assert b"".join(piece.before + piece.raw for piece in pieces) == data
    assert all(data[one.offset :].startswith(one.raw) for one in pieces)
    assert len(pieces) == len(values) + 1
    texts = [piece.raw.decode("utf-8", "surrogatepass") for piece in pieces[:-1]]
    assert [json.loads(one) for one in texts] == values


@given(values=st.lists(VALUES, min_size=1, max_size=5), data=st.data())
def test_array_that_is_cut_off_is_never_read_as_whole(values: list[object], data: st.DataObject):
    whole = json.dumps(values).encode()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(ArraySyntaxError) as caught:
        list(split_array(SmallReads(cut)))
    assert 0 <= caught.value.offset <= len(cut)


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"", 0),
        (b'{"a": 1}', 0),
        (b"[1, 2,]", 6),
        (b"[1 2]", 3),
        (b"[,1]", 1),
        (b"[1] x", 4),
        (b'[{"a": 1}, {"b": tru}]', 17),
        (b'[{"a": "\n"}]', 8),
        (b'["a', 1),
    ],
)
def test_syntax_error_says_the_byte(data: bytes, offset: int):
    with pytest.raises(ArraySyntaxError) as caught:
        list(split_array(io.BytesIO(data)))
    assert caught.value.offset == offset


def test_offset_counts_bytes_far_into_the_file():
    good = b'{"text": "\xc3\xa9"},' * 100_000
    with pytest.raises(ArraySyntaxError) as caught:
        list(split_array(io.BytesIO(b"[" + good + b'{"a" 1}]')))
    assert caught.value.offset == 1 + len(good) + 5


def test_bytes_that_are_no_utf8_stay_as_they_are():
    data = b'[{"a": "\xff\xfe \\" ]"}, 1]'
    assert [piece.raw for piece in split_array(io.BytesIO(data))] == [
        b'{"a": "\xff\xfe \\" ]"}',
        b"1",
        b"",
    ]


def test_byte_order_mark_is_read_over():
    assert [piece.raw for piece in split_array(io.BytesIO(b"\xef\xbb\xbf[1]"))] == [b"1", b""]


DEEP = b'{"a": ' + b"[" * 1200 + b'"]\\" }"' + b"]" * 1200 + b"}"


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b"-Infinity", id="infinity"),
        pytest.param(b"7" * 5000, id="5,000 digits"),
        pytest.param(b'{"a": 1e99999999999}', id="exponent beyond all floats"),
        pytest.param(DEEP, id="depth beyond all stacks"),
    ],
)
@pytest.mark.parametrize("reads", [io.BytesIO, SmallReads])
def test_what_costs_one_record_costs_no_other(bad: bytes, reads: type[io.BytesIO]):
    data = b'[{"b": 1}, ' + bad + b' , {"c": [2]}]'
    pieces = list(split_array(reads(data)))
    assert [piece.raw for piece in pieces] == [b'{"b": 1}', bad, b'{"c": [2]}', b""]
    assert b"".join(piece.before + piece.raw for piece in pieces) == data


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[" * 100_000 + b'"]]'])
def test_depth_without_an_end_is_an_error_of_the_file(data: bytes):
    with pytest.raises(ArraySyntaxError, match="deep"):
        list(split_array(io.BytesIO(data)))


def test_memory_is_bounded_by_one_element(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elements, "MAX_ELEMENT_BYTES", 2**21)
    endless = b'["' + b"a" * 2**23
    stream = io.BytesIO(endless)
    with pytest.raises(ArraySyntaxError, match="over"):
        list(split_array(stream))
    assert stream.tell() < len(endless)
