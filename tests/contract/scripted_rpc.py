"""The scripted services over gRPC, behind a relay that can reset one connection, as a broken network would.

Answers that are on their way are lost with it: what came, only the client knows.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.codes import CODE_TRAILER, RETRY_AFTER_TRAILER
from tests.contract.scripted_core import RETRY_AFTER_S, Core, Replica, Reply
from tests.contract.scripted_faults import Kind
from tests.contract.scripted_rest import reset

SERVICES = {
    "question-reward": "QuestionReward",
    "answer-reward": "AnswerReward",
    "inner-llm": "InnerLLM",
}
UNARY = {"Score": pb.ScoreRequest, "Rewrite": pb.RewriteRequest, "Review": pb.ReviewRequest}
MAX_IN_STREAM = 64
RETRY_AFTER_MS = int(RETRY_AFTER_S * 1000)
Context = grpc.aio.ServicerContext[Any, Any]
_STATUS: dict[Kind | None, tuple[grpc.StatusCode, str]] = {
    Kind.OVERLOADED: (grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded"),
    Kind.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, "unavailable"),
    Kind.HANG: (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded"),
    Kind.ERROR_BODY: (grpc.StatusCode.INTERNAL, "internal"),
}


@dataclass(slots=True, kw_only=True)
class _Relay:
    """Carries bytes between clients and the server behind it; `lines` by what gRPC calls the peer."""

    target: int
    lines: dict[str, Sequence[asyncio.StreamWriter]] = field(default_factory=dict)

    async def start(self) -> int:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self.lines[f"ipv4:127.0.0.1:{back.get_extra_info('sockname')[1]}"] = (writer, back)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    def reset(self, peer: str) -> None:
        for writer in self.lines.pop(peer, ()):  # no second time
            reset(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class GrpcServer:
    """One replica over gRPC; without `has_streams` it does not know ScoreStream."""

    def __init__(self, core: Core, replica: Replica, *, has_streams: bool = True) -> None:
        self._core = core
        self._replica = replica
        self._has_streams = has_streams
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._relay = _Relay(target=0)

    async def start(self) -> str:
        """Listens, and returns the URL."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                self._unary, request_deserializer=request.FromString
            )
            for name, request in UNARY.items()
        }
        handlers["GetModel"] = grpc.unary_unary_rpc_method_handler(self._model)
        if self._has_streams and self._replica.kind != "inner-llm":
            handlers["ScoreStream"] = grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=pb.ScoreStreamRequest.FromString
            )
        name = f"align2llava.v1.{SERVICES[self._replica.kind]}"
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, handlers),)
        )
        self._relay.target = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"grpc://127.0.0.1:{await self._relay.start()}"

    async def _model(self, _request: bytes, _context: Context) -> bytes:
        return self._core.model(self._replica).SerializeToString()

    async def _unary(self, request: Any, context: Context) -> bytes:
        reply = await self._core.reply(self._replica, request)
        if reply.fault is Kind.RESET:
            self._relay.reset(context.peer())
            await _gone()
        if reply.fault in _STATUS:
            status, code = _STATUS[reply.fault]
            trailers = [(CODE_TRAILER, code)]
            if reply.fault is Kind.OVERLOADED:
                trailers.append((RETRY_AFTER_TRAILER, str(RETRY_AFTER_MS)))
            await context.abort(status, "as scripted", trailing_metadata=tuple(trailers))
        data = reply.response.SerializeToString()
        if reply.fault is Kind.HALF:
            return data[: len(data) // 2]
        if reply.fault is Kind.SLOW_BODY:
            await context.send_initial_metadata(())
            await asyncio.sleep(0.15)
        self._core.answered(self._replica, reply, message=data)
        return data

    async def _stream(
        self, requests: AsyncIterator[pb.ScoreStreamRequest], context: Context
    ) -> AsyncIterator[bytes]:
        self._core.num_streams += 1
        stream = _Stream(core=self._core, replica=self._replica)
        reading = asyncio.create_task(stream.read(requests))
        try:
            while (answer := await stream.answers.get()) is not None:
                request_id, reply = answer
                if reply.fault is Kind.RESET:
                    self._relay.reset(context.peer())
                    await _gone()
                data = _in_stream(request_id, reply)
                if reply.fault is not Kind.HALF and _fault_in_stream(reply) is None:
                    self._core.answered(self._replica, reply, message=data)
                yield data
                if reply.fault is Kind.HALF:
                    return  # nothing can follow half a message
        finally:
            for task in (reading, *stream.tasks):
                task.cancel()


@dataclass(slots=True, kw_only=True)
class _Stream:
    """The requests of one stream that are not answered yet, and the answers in the order they come."""

    core: Core
    replica: Replica
    answers: asyncio.Queue[tuple[str, Reply] | None] = field(default_factory=asyncio.Queue)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def read(self, requests: AsyncIterator[pb.ScoreStreamRequest]) -> None:
        async for request in requests:
            task = asyncio.create_task(self._answer(request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            assert len(self.tasks) <= MAX_IN_STREAM
        await asyncio.gather(*self.tasks)
        await self.answers.put(None)

    async def _answer(self, request: pb.ScoreStreamRequest) -> None:
        reply = await self.core.reply(self.replica, request.request)
        await self.answers.put((request.request_id, reply))


async def _gone() -> None:
    """Never returns: the call ends with its connection."""
    await asyncio.Event().wait()


def _fault_in_stream(reply: Reply) -> pb.Error | None:
    if reply.fault not in _STATUS:
        return None
    error = pb.Error(code=_STATUS[reply.fault][1], message="as scripted")
    if reply.fault is Kind.OVERLOADED:
        error.retry_after_ms = RETRY_AFTER_MS
    return error


def _in_stream(request_id: str, reply: Reply) -> bytes:
    frame = pb.ScoreStreamResponse(request_id=request_id)
    error = _fault_in_stream(reply)
    if error is not None:
        frame.error.CopyFrom(error)
    else:
        frame.response.CopyFrom(_score_response(reply.response))
    data = frame.SerializeToString()
    return data[: len(data) // 2] if reply.fault is Kind.HALF else data


def _score_response(response: Message) -> pb.ScoreResponse:
    assert isinstance(response, pb.ScoreResponse)
    return response
