"""The scripted services over HTTP/1.1, by hand, so that an answer can end wherever the script wants."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

import msgpack
import orjson
from google.protobuf.message import Message

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import schemas
from align2llava.clients.wire.convert import to_proto
from tests.contract.scripted_core import RETRY_AFTER_S, Core, Replica, Reply
from tests.contract.scripted_faults import Kind

MSGPACK = "application/x-msgpack"
METHODS = {
    "/v1/score": (schemas.ScoreRequest, pb.ScoreRequest),
    "/v1/rewrite": (schemas.RewriteRequest, pb.RewriteRequest),
    "/v1/review": (schemas.ReviewRequest, pb.ReviewRequest),
}

_STATUS: dict[Kind | None, tuple[int, str, str]] = {
    Kind.OVERLOADED: (429, "overloaded", f"retry-after: {RETRY_AFTER_S}\r\n"),
    Kind.UNAVAILABLE: (503, "unavailable", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    path: str
    headers: dict[str, str]
    body: bytes


class RestServer:
    """One replica over REST."""

    def __init__(self, core: Core, replica: Replica) -> None:
        self._core = core
        self._replica = replica

    async def start(self) -> str:
        """Listens, and returns the URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(await read_call(reader), writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        """Returns whether the connection stays open."""
        pack = _packer(call)
        if call.path == "/v1/model":
            await _write(writer, 200, pack(plain(self._core.model(self._replica))), call=call)
            return True
        if call.path not in METHODS:
            await _write(writer, 404, pack(_error("invalid_request")), call=call)
            return True
        schema, proto = METHODS[call.path]
        is_packed = MSGPACK in call.headers.get("content-type", "")
        body = msgpack.unpackb(call.body) if is_packed else orjson.loads(call.body)
        request = to_proto(schema.model_validate(body), proto)
        reply = await self._core.reply(self._replica, request)
        return await self._deliver(reply, writer, call=call, pack=pack)

    async def _deliver(
        self,
        reply: Reply,
        writer: asyncio.StreamWriter,
        *,
        call: Call,
        pack: Callable[[object], bytes],
    ) -> bool:
        body = pack(plain(reply.response))
        if reply.fault in _STATUS:
            status, code, extra = _STATUS[reply.fault]
            await _write(writer, status, pack(_error(code)), call=call, extra=extra)
            return True
        match reply.fault:
            case Kind.ERROR_BODY:
                await _write(writer, 500, body, call=call)
            case Kind.RESET | Kind.HANG:
                reset(writer)
                return False
            case Kind.HALF if len(body) % 2:  # the connection ends before the body does
                writer.write(_head(200, len(body), call=call) + body[: len(body) // 2])
                await writer.drain()
                return False
            case Kind.HALF:  # the body is all there, the message in it is not
                await _write(writer, 200, body[: len(body) // 2], call=call)
            case _:
                self._core.answered(self._replica, reply)
                pause_s = 0.02 if reply.fault is Kind.SLOW_BODY else 0.0
                await _write(writer, 200, body, call=call, pause_s=pause_s)
        return True


async def read_call(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(path=first.split()[1], headers=headers, body=body)


def _packer(call: Call) -> Callable[[object], bytes]:
    if MSGPACK in call.headers.get("accept", ""):
        return lambda value: msgpack.packb(value) or b""
    return orjson.dumps


def _head(status: int, num_bytes: int, *, call: Call, extra: str = "") -> bytes:
    is_packed = MSGPACK in call.headers.get("accept", "")
    kind = MSGPACK if is_packed else "application/json"
    lines = f"HTTP/1.1 {status} As-Scripted\r\ncontent-type: {kind}\r\n{extra}"
    return f"{lines}content-length: {num_bytes}\r\n\r\n".encode()


async def _write(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    *,
    call: Call,
    extra: str = "",
    pause_s: float = 0.0,
) -> None:
    """Writes an answer, in eight pieces where there is a pause between them."""
    writer.write(_head(status, len(body), call=call, extra=extra))
    step = len(body) // 8 + 1 if pause_s else len(body) or 1
    for start in range(0, len(body), step):
        writer.write(body[start : start + step])
        await writer.drain()
        await asyncio.sleep(pause_s)


def reset(writer: asyncio.StreamWriter) -> None:
    """Breaks a connection as a network does: by RST, without what is not sent yet."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def _error(code: str) -> dict[str, object]:
    return {"error": {"code": code, "message": "as scripted"}}


def plain(message: Message) -> dict[str, object]:
    """Returns a message as a REST body; unlike the schemas, it lets a NaN pass."""
    values: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            values[field.name] = [plain(one) for one in value]
        elif field.has_presence and not message.HasField(field.name):
            continue
        elif field.message_type is not None:
            values[field.name] = plain(value)
        elif field.enum_type is not None:
            name = field.enum_type.values_by_number[value].name
            values[field.name] = name.removeprefix("VERDICT_").lower()
        else:
            values[field.name] = value
    return values
