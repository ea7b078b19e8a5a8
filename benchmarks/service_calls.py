"""Bare calls of a reward service for the load generator: REST, gRPC unary, gRPC stream.

Thinner than the product's clients, so that the figures are the service's: requests are encoded
beforehand and nothing is retried. Every answer is parsed and must hold a reward for each item.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import grpc
import grpc.aio
import httpx
import msgpack

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.codes import RETRY_AFTER_TRAILER, TABLE, Code
from align2llava.clients.wire.convert import from_proto, to_proto
from align2llava.clients.wire.schemas import Group, ScoreRequest, ScoreResponse

Transport = Literal["rest", "grpc", "stream"]
_MSGPACK = "application/x-msgpack"
_SERVICE = "/align2llava.v1.QuestionReward"
_OVERLOADED = TABLE[Code.OVERLOADED]
_MAX_MESSAGE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Overloaded:
    """A refusal; 0 where it does not say when to come again."""

    retry_after_s: float


class WrongAnswerError(Exception):
    """An answer that is neither rewards for all items nor `overloaded`."""


class Connection(Protocol):
    """One client's way to the service."""

    transport: Transport

    def encoded(self, group: Group) -> bytes:
        """Returns a request of one group as this transport sends it."""
        ...

    async def send(self, request: bytes) -> Overloaded | None:
        """Returns None when the request was answered well, else the refusal.

        Raises:
            WrongAnswerError: anything else was answered.
        """
        ...


class RestCalls:
    """`POST /v1/score` with msgpack bodies."""

    transport: Transport = "rest"

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    def encoded(self, group: Group) -> bytes:
        """See `Connection.encoded`."""
        body = msgpack.packb(ScoreRequest(groups=(group,)).model_dump(exclude_none=True))
        assert body is not None  # its stub is looser than the function
        return body

    async def send(self, request: bytes) -> Overloaded | None:
        """See `Connection.send`."""
        response = await self._http.post("/v1/score", content=request)
        if response.status_code == _OVERLOADED.http_status:
            return Overloaded(retry_after_s=float(response.headers.get("retry-after", 0)))
        if response.status_code != 200:
            raise WrongAnswerError(f"HTTP {response.status_code}: {response.content[:200]!r}")
        _check(ScoreResponse.model_validate(msgpack.unpackb(response.content)))
        return None


class GrpcCalls:
    """`Score`."""

    transport: Transport = "grpc"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._score = channel.unary_unary(f"{_SERVICE}/Score")  # bytes in, bytes out

    def encoded(self, group: Group) -> bytes:
        """See `Connection.encoded`."""
        return to_proto(ScoreRequest(groups=(group,)), pb.ScoreRequest).SerializeToString()

    async def send(self, request: bytes) -> Overloaded | None:
        """See `Connection.send`."""
        try:
            answer: bytes = await self._score(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not _OVERLOADED.grpc_status:
                raise WrongAnswerError(f"{error.code()}: {error.details()}") from error
            trailers = dict(error.trailing_metadata() or ())
            return Overloaded(retry_after_s=float(trailers.get(RETRY_AFTER_TRAILER, 0)) / 1e3)
        _check(from_proto(pb.ScoreResponse.FromString(answer), ScoreResponse))
        return None


class StreamCalls:
    """One open `ScoreStream` with one request in flight."""

    transport: Transport = "stream"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = channel.stream_stream(f"{_SERVICE}/ScoreStream")()

    def encoded(self, group: Group) -> bytes:
        """See `Connection.encoded`."""
        request = to_proto(ScoreRequest(groups=(group,)), pb.ScoreRequest)
        return pb.ScoreStreamRequest(request_id="one", request=request).SerializeToString()

    async def send(self, request: bytes) -> Overloaded | None:
        """See `Connection.send`."""
        await self._call.write(request)
        answer = await self._call.read()
        if not isinstance(answer, bytes):
            raise WrongAnswerError(f"the stream ended: {await self._call.details()}")
        response = pb.ScoreStreamResponse.FromString(answer)
        if response.HasField("error"):
            if response.error.code != Code.OVERLOADED:
                raise WrongAnswerError(f"{response.error.code}: {response.error.message}")
            return Overloaded(retry_after_s=response.error.retry_after_ms / 1e3)
        _check(from_proto(response.response, ScoreResponse))
        return None

    async def finish(self) -> None:
        """Ends the stream."""
        await self._call.done_writing()


def _check(response: ScoreResponse) -> None:
    items = [item for group in response.groups for item in group.items]
    if not items or any(item.reward is None for item in items):
        raise WrongAnswerError(f"an item has no reward: {items}")


@asynccontextmanager
async def connected(
    transport: Transport, *, http_port: int, grpc_port: int
) -> AsyncGenerator[Connection]:
    """Yields a connection to the service on these ports of this machine."""
    if transport == "rest":
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{http_port}",
            headers={"accept": _MSGPACK, "content-type": _MSGPACK},
            timeout=None,  # noqa: S113  (the whole call is timed)
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        ) as http:
            yield RestCalls(http)
        return
    options = [("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=options) as channel:
        if transport == "grpc":
            yield GrpcCalls(channel)
            return
        stream = StreamCalls(channel)
        yield stream
        await stream.finish()
