"""The body of a REST request, in whatever form it comes, as plain JSON within the limit.

Forms: JSON or msgpack, as it is or packed by gzip. Knows no route and no schema.
"""

import asyncio
import base64
import zlib

import msgpack
import orjson
from starlette.datastructures import Headers
from starlette.types import Receive

from align2llava.services.errors import DeadlineError, InvalidRequestError, TooLargeError

JSON = "application/json"
MSGPACK = "application/x-msgpack"

_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib's way to say: a gzip header
_REPLACED = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding")


async def json_body(
    headers: Headers, receive: Receive, *, max_bytes: int, deadline: float
) -> bytes:
    """Returns the whole body as JSON; `deadline` is on the event loop's clock.

    Raises:
        InvalidRequestError: a form we do not read, or not what its headers say.
        TooLargeError: over `max_bytes`, as sent or unpacked.
        DeadlineError: it did not come in time, or the caller went away.
    """
    content_type = headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if content_type not in (JSON, MSGPACK):
        raise InvalidRequestError(
            f"the body is {content_type[:80]!r}; this service reads {JSON} and {MSGPACK}"
        )
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", *_GZIP):
        raise InvalidRequestError(
            f"the body's content-encoding is {encoding[:80]!r}; this service reads gzip, or none"
        )
    try:
        async with asyncio.timeout_at(deadline):
            body = await _read(headers, receive, max_bytes=max_bytes)
    except TimeoutError:
        raise DeadlineError("the deadline passed before the body was read") from None
    if encoding in _GZIP:
        body = await asyncio.to_thread(unpacked, body, max_bytes=max_bytes)
    return json_of_msgpack(body) if content_type == MSGPACK and body else body


async def _read(headers: Headers, receive: Receive, *, max_bytes: int) -> bytes:
    length = headers.get("content-length", "0")
    if is_whole(length) and (len(length) > len(str(max_bytes)) or int(length) > max_bytes):
        raise TooLargeError(f"the body is {length[:20]} bytes; the limit is {max_bytes}")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DeadlineError("the caller went away")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise TooLargeError(f"the body is over {max_bytes} bytes, the limit")
        if not message.get("more_body", False):
            return bytes(body)


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


def json_of_msgpack(body: bytes) -> bytes:
    """Returns a msgpack body as JSON, its bytes as base64.

    Raises:
        InvalidRequestError: it is no msgpack, or holds what JSON cannot.
    """
    try:
        value = msgpack.unpackb(body, use_list=True)
        return orjson.dumps(value, default=_base64_of)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidRequestError(f"the body is no msgpack we can read: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Returns what a library says of a body, without the body that it may quote."""
    if isinstance(error, UnicodeDecodeError):
        return f"a text is not UTF-8 at byte {error.start}"
    return str(error) or type(error).__name__


def _base64_of(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a {type(value).__name__} has no JSON form")
