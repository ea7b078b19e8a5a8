"""The forms of a flood: which good requests are damaged, and how what comes of them is sent and judged."""

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Literal, Protocol

import grpc.aio
import httpx
import msgpack

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.services.process.connections import MAX_HEAD_BYTES
from align2llava.services.surfaces.rest.examples import EXAMPLES
from tests.attacks.keep_alive import KeepAlive
from tests.attacks.onslaughts import Site
from tests.fuzz import wire
from tests.fuzz.campaign import ServerFault, Verdict
from tests.fuzz.images import image_seeds
from tests.fuzz.mutator import Seed
from tests.fuzz.wire import JSON, MSGPACK, checked, checked_error, checked_message

ANSWER_S = 20.0
IMAGES_A_REQUEST = 16
CHAT = "/v1/chat/completions"

_REFUSED_BY_PARSER = b"Invalid HTTP request received."  # uvicorn's: no app has seen it
_REWARDS: dict[str, str] = {"question-reward": "QuestionReward", "answer-reward": "AnswerReward"}
_ITEMS: dict[str, dict[str, object]] = {
    "question-reward": {"id": "a", "questions": ["What is it?", "And now?"]},
    "answer-reward": {"id": "a", "question": "What is it?", "answer": "Red."},
}


class RefusedWholeError(Exception):
    """A request of many inputs was refused for one of them."""


class Send(Protocol):
    """Sends inputs in one request."""

    async def __call__(self, inputs: Sequence[bytes], /) -> Sequence[Verdict]:
        """Returns what became of each.

        Raises:
            ServerFault: the service answered what it never may.
            RefusedWholeError: more than one input was sent, and none was looked at.
            TimeoutError: it did not answer in time.
            OSError, EOFError: it ended the connection.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """Damaged traffic of one form for one service; `num_inputs` at scale 1."""

    form: str
    kind: str
    seeds: Sequence[Seed]
    opened: Callable[[Site], AbstractAsyncContextManager[Send]]
    num_inputs: int
    at_once: int = 1

    @property
    def name(self) -> str:
        return f"{self.form} at {self.kind}"


def _head(site: Site, route: bytes, headers: bytes) -> bytes:
    """Returns what comes before a body."""
    key = site.key.encode()
    host = b"host: 127.0.0.1:%d\r\nauthorization: Bearer %s\r\n" % (site.http_port, key)
    return b"POST " + route + b" HTTP/1.1\r\n" + host + headers + b"\r\n\r\n"


def bodies(kind: str, *, packed: bool) -> Flood:
    """Damaged bodies for each route; the first byte of an input chooses it."""
    routes = [route.encode() for route, _ in wire.BODIES[kind]]
    seeds = list(wire.rest_seeds(kind, packed=packed)())
    if kind == "inner-llm" and not packed:  # OpenAI's routes know JSON only
        (chat,) = (example for example in EXAMPLES[kind] if example.path == CHAT)
        body = json.dumps(chat.request).encode()
        seeds.append(Seed(body=body, grammar="json", prefix=bytes([len(routes)])))
        routes.append(CHAT.encode())
    content_type = (MSGPACK if packed else JSON).encode()

    @asynccontextmanager
    async def opened(site: Site) -> AsyncGenerator[Send]:
        connection = KeepAlive(site.http_port)

        async def send(inputs: Sequence[bytes]) -> list[Verdict]:
            (data,) = inputs
            headers = b"content-type: %s\r\ncontent-length: %d" % (content_type, len(data) - 1)
            request = _head(site, routes[data[0]], headers) + data[1:]
            return [_judged(await connection.ask(request))]

        yield send
        connection.close()

    form = "msgpack bodies" if packed else "JSON bodies"
    return Flood(form=form, kind=kind, seeds=seeds, opened=opened, num_inputs=14_000)


def _header_seed(num_bytes: int) -> bytes:
    """Returns good header lines of a request with a body of that length."""
    return re.sub(rb"content-length: \d+", b"content-length: %d" % num_bytes, wire.HEADER_SEED)


def heads(kind: str, *, of: Literal["headers", "paths"]) -> Flood:
    """Damaged header lines, or paths, before a good body."""
    routes = [(route.encode(), json.dumps(body).encode()) for route, body in wire.BODIES[kind]]
    seeds = [
        Seed(
            body=_header_seed(len(body)) if of == "headers" else route,
            grammar="headers" if of == "headers" else "bytes",
            prefix=bytes([place]),
        )
        for place, (route, body) in enumerate(routes)
    ]

    @asynccontextmanager
    async def opened(site: Site) -> AsyncGenerator[Send]:
        connection = KeepAlive(site.http_port)

        async def send(inputs: Sequence[bytes]) -> list[Verdict]:
            (data,) = inputs
            route, body = routes[data[0]]
            headers = _header_seed(len(body))
            if of == "headers":
                headers = data[1:]
            else:
                route = data[1:]
            head = _head(site, route, headers.replace(b"\n", b"\r\n"))
            if len(head) <= MAX_HEAD_BYTES and is_framed(route, headers, len(body)):
                answer = await connection.ask(head + body)
            else:
                answer = await connection.ask_and_end(head + body)
            return [_judged(answer, may_be_late=b"\nx-deadline-ms: 20000" not in headers)]

        yield send
        connection.close()

    return Flood(
        form=f"damaged {of}",
        kind=kind,
        seeds=seeds,
        opened=opened,
        num_inputs=4_000,
    )


def is_framed(route: bytes, headers: bytes, num_bytes: int) -> bool:
    """Whether a reader knows where this request ends; otherwise it waits, rightly, for more."""
    lines = headers.lower().split(b"\n")
    told = [line for line in lines if b"content-length" in line or b"transfer-encoding" in line]
    is_one_line = not any(byte <= 32 for byte in route)
    whole = is_one_line and all(lines) and b"\r" not in headers
    return whole and told == [b"content-length: %d" % num_bytes]


def _judged(answer: httpx.Response | None, *, may_be_late: bool = False) -> Verdict:
    if answer is None or answer.status_code == 431 or answer.content == _REFUSED_BY_PARSER:
        return Verdict.REFUSED
    try:
        return checked(answer, may_be_late=may_be_late)
    except (ValueError, KeyError, TypeError) as error:
        told = f"{answer.status_code} {answer.content[:200]!r}"
        raise ServerFault(f"not in the form of the table: {told}") from error


def calls(kind: str) -> Flood:
    """Damaged messages for each unary method; the first byte of an input chooses it."""
    (model,) = {name.partition("/")[0] for name, _ in wire.METHODS[kind]}
    methods = [one for one in wire.METHODS[kind] if "GetModel" not in one[0]]
    methods.append((f"{model}/GetModel", b"\x0a\x01a"))

    @asynccontextmanager
    async def opened(site: Site) -> AsyncGenerator[Send]:
        async with _channel(site) as (channel, metadata):
            asks = [channel.unary_unary(f"/align2llava.v1.{name}") for name, _ in methods]

            async def ask(data: bytes) -> bytes:
                return await asks[data[0]](data[1:], timeout=ANSWER_S, metadata=metadata)

            yield partial(_called, ask)

    seeds = [
        Seed(body=message, grammar="proto", prefix=bytes([place]))
        for place, (_, message) in enumerate(methods)
    ]
    return Flood(
        form="gRPC calls",
        kind=kind,
        seeds=seeds,
        opened=opened,
        num_inputs=24_000,
    )


def streams(kind: str) -> Flood:
    """Damaged messages on `ScoreStream`, a good one behind each."""
    good = _streamed_score(kind, request_id="good", deadline_ms=0)

    @asynccontextmanager
    async def opened(site: Site) -> AsyncGenerator[Send]:
        async with _channel(site) as (channel, metadata):
            stream = channel.stream_stream(f"/align2llava.v1.{_REWARDS[kind]}/ScoreStream")
            opened = partial(stream, timeout=ANSWER_S, metadata=metadata)
            yield partial(_called, partial(_streamed, opened, good=good))

    seed = Seed(body=_streamed_score(kind, request_id="a", deadline_ms=9_000), grammar="proto")
    return Flood(
        form="gRPC streams",
        kind=kind,
        seeds=[seed],
        opened=opened,
        num_inputs=16_000,
    )


def _streamed_score(kind: str, *, request_id: str, deadline_ms: int) -> bytes:
    request = pb.ScoreRequest.FromString(wire.METHODS[kind][0][1])
    return pb.ScoreStreamRequest(
        request_id=request_id, deadline_ms=deadline_ms, request=request
    ).SerializeToString()


async def _streamed(
    open_stream: Callable[[], grpc.aio.StreamStreamCall[bytes, bytes]], data: bytes, *, good: bytes
) -> bytes:
    """Sends a good message behind the first answer: to a stream that has ended, it would hide the status."""
    stream = open_stream()
    answers: list[bytes] = []
    await stream.write(data)
    while isinstance(answer := await stream.read(), bytes):
        answers.append(answer)
        if len(answers) == 1:
            with suppress(asyncio.InvalidStateError):  # it has ended since; the next look tells how
                await stream.write(good)
                await stream.done_writing()
    return b"".join(answers)


@asynccontextmanager
async def _channel(site: Site) -> AsyncGenerator[tuple[grpc.aio.Channel, list[tuple[str, str]]]]:
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.insecure_channel(f"127.0.0.1:{site.grpc_port}", options=options) as channel:
        yield channel, [("authorization", f"Bearer {site.key}")]


async def _called(
    ask: Callable[[bytes], Awaitable[bytes]], inputs: Sequence[bytes]
) -> list[Verdict]:
    (data,) = inputs
    try:
        return [checked_message(await ask(data))]
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise TimeoutError(error.details()) from error
        return [checked_error(error)]


def images(kind: str) -> Flood:
    """Damaged images, many in one request, each in a group of its own."""

    @asynccontextmanager
    async def opened(site: Site) -> AsyncGenerator[Send]:
        connection = KeepAlive(site.http_port)

        async def send(inputs: Sequence[bytes]) -> list[Verdict]:
            body = msgpack.packb({"groups": [_group(kind, data) for data in inputs]}) or b""
            headers = b"content-type: %s\r\naccept: %s\r\ncontent-length: %d"
            headers %= (MSGPACK.encode(), JSON.encode(), len(body))
            answer = await connection.ask(_head(site, b"/v1/score", headers) + body)
            if _judged(answer) is Verdict.ACCEPTED:
                return [
                    _of_item(group["items"][0]) for group in json.loads(answer.content)["groups"]
                ]
            if len(inputs) > 1:
                raise RefusedWholeError(answer.text)
            return [Verdict.REFUSED]

        yield send
        connection.close()

    return Flood(
        form="damaged images",
        kind=kind,
        seeds=image_seeds(),
        opened=opened,
        num_inputs=40_000,
        at_once=IMAGES_A_REQUEST,
    )


def _group(kind: str, data: bytes) -> dict[str, object]:
    image = {"sha256": sha256(data).hexdigest(), "data": data}
    return {"image": image, "items": [_ITEMS[kind]]}


def _of_item(item: dict[str, object]) -> Verdict:
    if (reward := item.get("reward")) is None:
        return Verdict.REFUSED
    if not isinstance(reward, float) or not math.isfinite(reward):
        raise ServerFault(f"no reward: {reward!r}")
    return Verdict.ACCEPTED
