"""The body of a REST request, in whatever form it comes: read within limits, counted, then parsed.

Forms: JSON or msgpack, as it is or packed by gzip. Knows no route.
"""

import asyncio
import base64
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import msgpack
import orjson
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.types import Receive

from align2llava.clients.wire.schemas import Message
from align2llava.services.errors import DeadlineError, InvalidRequestError, TooLargeError
from align2llava.services.faults import described
from align2llava.services.surfaces.counting import (
    JsonCount,
    max_values,
    msgpack_values,
    refuse_long,
    refuse_values,
    refuse_wide,
)
from align2llava.services.surfaces.turns import in_turn

JSON = "application/json"
MSGPACK = "application/x-msgpack"

_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib's way to say: a gzip header
_REPLACED = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding")

# Of a body: larger parts would be moved often as they grow, smaller ones be many objects.
_PART_BYTES = 2**20

S = TypeVar("S", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A whole body, unpacked and counted, not parsed; it lies in parts, since a copy of it costs as much as itself."""

    parts: Sequence[bytes | bytearray]
    is_msgpack: bool

    @property
    def num_bytes(self) -> int:
        """How long it is."""
        return sum(map(len, self.parts))

    @property
    def data(self) -> bytes:
        """A copy in one piece."""
        return b"".join(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """What a body may be; `deadline`, until when it must be here, is on the event loop's clock."""

    max_bytes: int
    max_values: int
    deadline: float


async def read_body(
    headers: Headers, receive: Receive, *, limits: BodyLimits, take: Callable[[int], None]
) -> Body:
    """Returns the whole body; `take` is told of bytes before they are held, and may refuse them.

    Raises:
        InvalidRequestError: a form we do not read, or not what its headers say.
        TooLargeError: over the limits, as sent or unpacked.
        DeadlineError: it did not come in time, or the caller went away.
    """
    content_type = _content_type(headers)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", *_GZIP):
        raise InvalidRequestError(
            f"the body's content-encoding is {encoding[:80]!r}; this service reads gzip, or none"
        )
    is_packed = encoding in _GZIP
    count = None if is_packed or content_type == MSGPACK else JsonCount(limit=limits.max_values)
    try:
        async with asyncio.timeout_at(limits.deadline):
            parts = await _read(
                headers, receive, max_bytes=limits.max_bytes, take=take, count=count
            )
    except TimeoutError:
        raise DeadlineError("the deadline passed before the body was read") from None
    if is_packed:
        parts = [await in_turn(limits.max_bytes, _unpacked, parts, limits, content_type)]
        take(len(parts[0]))
    return Body(parts=parts, is_msgpack=content_type == MSGPACK)


def _unpacked(parts: Sequence[bytearray], limits: BodyLimits, content_type: str) -> bytes:
    data = unpacked(b"".join(parts), max_bytes=limits.max_bytes)
    if content_type == JSON:
        JsonCount(limit=limits.max_values).feed(data)
    return data


def _content_type(headers: Headers) -> str:
    """Returns the form of the body; one that states none is refused, since a web page can send it.

    Raises:
        InvalidRequestError: it is none that we read.
    """
    stated = headers.get("content-type")
    if stated is None:
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return JSON  # there is no body
        raise InvalidRequestError(
            f"the body has no content-type; this service reads {JSON} and {MSGPACK}"
        )
    content_type = stated.partition(";")[0].strip().lower()
    if content_type not in (JSON, MSGPACK):
        raise InvalidRequestError(
            f"the body is {content_type[:80]!r}; this service reads {JSON} and {MSGPACK}"
        )
    return content_type


async def _read(
    headers: Headers,
    receive: Receive,
    *,
    max_bytes: int,
    take: Callable[[int], None],
    count: JsonCount | None,
) -> list[bytearray]:
    length = headers.get("content-length", "0")
    if is_whole(length) and (len(length) > len(str(max_bytes)) or int(length) > max_bytes):
        raise TooLargeError(f"the body is {length[:20]} bytes; the limit is {max_bytes}")
    parts: list[bytearray] = []
    num_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DeadlineError("the caller went away")
        part: bytes = message.get("body", b"")
        num_bytes += len(part)
        if num_bytes > max_bytes:
            raise TooLargeError(f"the body is over {max_bytes} bytes, the limit")
        take(len(part))
        if count is not None:
            count.feed(part)
        if not parts or len(parts[-1]) > _PART_BYTES:
            parts.append(bytearray())
        parts[-1] += part
        if not message.get("more_body", False):
            return parts


def is_whole(text: str) -> bool:
    """Returns whether a header holds a whole number in the digits that `int` takes."""
    return text.isascii() and text.isdigit()


def json_headers(headers: Headers, *, num_bytes: int) -> list[tuple[bytes, bytes]]:
    """Returns a request's headers, as those of a JSON body of that length."""
    kept = [(name, value) for name, value in headers.raw if name not in _REPLACED]
    return [
        *kept,
        (b"content-type", JSON.encode()),
        (b"content-length", str(num_bytes).encode()),
    ]


def unpacked(packed: bytes, *, max_bytes: int) -> bytes:
    """Returns what gzip packed, of one member or several; never holds more than `max_bytes` of it.

    Raises:
        InvalidRequestError: it is no gzip, damaged, or cut off.
        TooLargeError: more than `max_bytes`.
    """
    body = bytearray()
    left = packed
    while left:
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        try:
            body += unpacker.decompress(left, max_bytes + 1 - len(body))
        except zlib.error as error:
            raise InvalidRequestError(
                f"the body's content-encoding is gzip, but it is no gzip we can read: {error}"
            ) from error
        if len(body) > max_bytes:
            raise TooLargeError(f"the body is over {max_bytes} bytes unpacked, the limit")
        if not unpacker.eof:
            raise InvalidRequestError("the body's content-encoding is gzip, but it is cut off")
        left = unpacker.unused_data
    return bytes(body)


async def validated(body: Body, schema: type[S], *, max_items: int) -> S:
    """Returns a body as a schema; a large one is worked on in a thread.

    Raises:
        InvalidRequestError: it is not of its form, or does not fit.
        TooLargeError: it holds too much to be looked at.
    """
    return await in_turn(body.num_bytes, _validated, body, schema, max_items)


def _validated(body: Body, schema: type[S], max_items: int) -> S:
    value = plain(body, max_items=max_items)
    if isinstance(value, dict):
        for name, member in cast("dict[str, object]", value).items():
            if isinstance(member, list):
                refuse_long(len(cast("list[object]", member)), name=name[:20], limit=max_items)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise InvalidRequestError(described(error)) from error


def plain(body: Body, *, max_items: int) -> object:
    """Returns what a body holds, as plain values; NaN and lone surrogates are no JSON.

    Raises:
        InvalidRequestError: it is not of its form, or an object has too many members.
        TooLargeError: a msgpack body holds too many values.
    """
    if body.is_msgpack:
        value = unpacked_msgpack(body.data, limit=max_values(max_items))
    else:
        try:
            value = orjson.loads(body.data)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(f"the body is no JSON: {error}") from error
    refuse_wide(value)
    return value


async def json_of(body: Body, *, max_items: int) -> bytes:
    """Returns a body as JSON, for routes that have a parser of their own.

    Raises:
        ServiceError: as `plain` does.
    """
    return await in_turn(body.num_bytes, _json_of, body, max_items)


def _json_of(body: Body, max_items: int) -> bytes:
    value = plain(body, max_items=max_items)
    if not body.is_msgpack:
        return body.data
    try:
        return orjson.dumps(value, default=_base64_of)
    except TypeError as error:
        raise InvalidRequestError(f"the body is no msgpack we can read: {error}") from error


def unpacked_msgpack(data: bytes, *, limit: int) -> object:
    """Returns a msgpack body that holds at most `limit` values, as plain values and bytes.

    Raises:
        TooLargeError: it holds more.
        InvalidRequestError: it is no msgpack, or holds what is neither JSON's nor bytes.
    """
    refuse_values(msgpack_values(data, limit=limit), limit=limit)
    try:
        # A head may state a length that the body does not have: room is made for it at once.
        value: object = msgpack.unpackb(
            data, ext_hook=_no_extension, max_array_len=limit, max_map_len=limit
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidRequestError(f"the body is no msgpack we can read: {_said(error)}") from error
    return value


def _no_extension(kind: int, _data: bytes) -> object:
    raise ValueError(f"it holds an extension, of kind {kind}")


def _said(error: Exception) -> str:
    """Returns what a library says of a body, without the body that it may quote."""
    if isinstance(error, UnicodeDecodeError):
        return f"a text is not UTF-8 at byte {error.start}"
    return str(error) or type(error).__name__


def _base64_of(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a {type(value).__name__} has no JSON form")
