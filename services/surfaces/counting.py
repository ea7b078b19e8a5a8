"""How many values a body holds, counted before anything is made of them; of JSON, msgpack, protobuf.

Each pass costs what it reads and holds nothing. It counts at least what a parser would make of the
same bytes; of bytes that are malformed, at least what a parser would make until it notices. Knows
no schema but the descriptor it is handed.
"""

from collections.abc import Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from align2llava.services.errors import InvalidRequestError, TooLargeError

_WINDOW = 64 * 1024  # bytes looked at in one step, so that other threads get their turn
# Before each value of a JSON body but the first stands one of these.
_SEPARATORS = b"[{,:"

_VALUES_EACH = 32  # of one item: its members and turns, and its share of a group's
_VALUES_SPARE = 4096  # of a request of few items with very many turns
_PARTS_EACH = 6  # of what is known, an item has three at most
_PARTS_SPARE = 64
# No object of a body we read has as many members; each unknown one would be a fault of its own.
_MAX_MEMBERS = 320  # a chat completion may bias 300 tokens


def max_values(max_items: int) -> int:
    """Returns how many values a request may hold that may hold that many items."""
    return _VALUES_SPARE + _VALUES_EACH * max_items


def refuse_values(num_values: int, *, limit: int) -> None:
    """Accepts a number of values within the limit.

    Raises:
        TooLargeError: more.
    """
    if num_values > limit:
        raise TooLargeError(
            f"the body holds more than {limit} values (members, items, texts), the limit"
        )


def refuse_long(num_items: int, *, name: str, limit: int) -> None:
    """Accepts a list of a request that may be answered, by its length.

    Raises:
        TooLargeError: it is longer than any request may be.
    """
    if num_items > limit:
        raise TooLargeError(f"the request has {num_items} {name}; the limit is {limit} items")


class JsonCount:
    """Counts the values of a JSON body while it comes in, member names included."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._num_values = 1
        self._is_in_text = False
        self._held = b""  # half an escape

    @property
    def num_values(self) -> int:
        """What was counted so far."""
        return self._num_values

    def feed(self, data: bytes) -> None:
        """Counts on.

        Raises:
            TooLargeError: more values than the limit.
        """
        for start in range(0, len(data), _WINDOW):
            self._step(data[start : start + _WINDOW])
            refuse_values(self._num_values, limit=self._limit)

    def _step(self, window: bytes) -> None:
        if self._is_in_text and b'"' not in window and b"\\" not in window:
            self._held = b""
            return  # the inside of a long text, most often an image
        text = self._held + window
        num_escapes = len(text) - len(text.rstrip(b"\\"))
        self._held = b"\\" * (num_escapes % 2)
        text = text[: len(text) - len(self._held)]
        # Without escapes every quote begins or ends a text, and every second piece between quotes is outside.
        pieces = text.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        outside = b"".join(pieces[self._is_in_text :: 2])
        self._num_values += len(outside) - len(outside.translate(None, _SEPARATORS))
        self._is_in_text ^= len(pieces) % 2 == 0


def msgpack_values(data: bytes, *, limit: int) -> int:
    """Returns how many values a msgpack body holds, member names included; at most `limit` + 1."""
    if len(data) <= limit:
        return len(data)  # no value is shorter than a byte
    num_values = position = 0
    while position < len(data) and num_values <= limit:
        position += _msgpack_length(data, position)
        num_values += 1
    return num_values


# How long what follows the first byte is: a fixed number of bytes, or as many as a length of that
# many bytes says, and one more for the kind of an extension. Arrays and maps are their heads alone.
# Source: spec.md of the repository msgpack/msgpack.
_FIXED = {
    **dict(enumerate((4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17), 0xCA)),
    **dict(enumerate((2, 4, 2, 4), 0xDC)),
}
_SIZED = {
    **dict(enumerate(((1, 0), (2, 0), (4, 0), (1, 1), (2, 1), (4, 1)), 0xC4)),
    **dict(enumerate(((1, 0), (2, 0), (4, 0)), 0xD9)),
}


def _msgpack_length(data: bytes, position: int) -> int:
    """Returns how many bytes the value that begins here takes, without what it contains."""
    first = data[position]
    if 0xA0 <= first <= 0xBF:
        return 1 + (first & 0x1F)
    if first in _SIZED:
        width, kind = _SIZED[first]
        length = int.from_bytes(data[position + 1 : position + 1 + width], "big")
        return 1 + width + kind + length
    return 1 + _FIXED.get(first, 0)


def refuse_wide(value: object) -> None:
    """Accepts plain values whose every object is small enough to be told its faults.

    Raises:
        InvalidRequestError: an object has more members than any message has.
    """
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if len(one) > _MAX_MEMBERS:
                raise InvalidRequestError(
                    f"an object has {len(one)} members; no message has as many as {_MAX_MEMBERS}"
                )
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def max_parts(max_items: int) -> int:
    """Returns how many messages, and fields that nobody knows, a protobuf request may hold; most of an item are texts."""
    return _PARTS_SPARE + _PARTS_EACH * max_items


def protobuf_values(
    data: bytes, descriptor: Descriptor, *, limit: int, max_parts: int | None = None
) -> int:
    """Returns how many fields a message holds, those of its messages included; at most `limit` + 1.

    That is the answer too where more than `max_parts` of them are messages, or unknown.
    """
    if len(data) <= 2 * limit:
        return len(data) // 2  # no field is shorter than a tag and a byte
    num_left, num_parts_left = limit + 1, limit if max_parts is None else max_parts
    position, end, fields = 0, len(data), _fields(descriptor)
    outer: list[tuple[int, Mapping[int, Descriptor | None]]] = []  # around the message we are in
    while num_left and num_parts_left >= 0:
        if position >= end:  # what cannot be read ends its message, as it ends it for a parser
            if not outer:
                return limit + 1 - num_left
            position, (end, fields) = end, outer.pop()
            continue
        num_left -= 1
        tag, position = _varint(data, position, end)
        inside = fields.get(tag, descriptor)  # whatever is no text of ours is a part
        num_parts_left -= inside is not None
        match tag & 7:
            case 2:
                length, position = _varint(data, position, end)
                if tag in fields and inside is not None:
                    outer.append((end, fields))
                    end, fields = min(position + length, end), _fields(inside)
                else:
                    position += length
            case 0:
                _, position = _varint(data, position, end)
            case kind:
                position += _WIDTHS.get(kind, 0)
    return limit + 1


@cache
def _fields(descriptor: Descriptor) -> Mapping[int, Descriptor | None]:
    """Returns the messages of a message's fields, None for other values, by the tag that stands before each."""
    return {
        field.number << 3 | _wire_type(field): field.message_type for field in descriptor.fields
    }


def _wire_type(field: FieldDescriptor) -> int:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING | FieldDescriptor.CPPTYPE_MESSAGE:
            return 2
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return 1
        case FieldDescriptor.CPPTYPE_FLOAT:
            return 5
        case _:
            return 0


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Returns a number and where it ends; of one that is cut off what there is of it."""
    if position < end and data[position] < 0x80:  # most often
        return data[position], position + 1
    value = shift = 0
    while position < end:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift >= _VARINT_BITS:
            break
    return value, position


# Source: the page on encoding of protobuf.dev.
_VARINT_BITS = 70
_WIDTHS = {1: 8, 5: 4}
