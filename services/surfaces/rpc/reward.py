"""The gRPC servicers of the two reward services: `Score`, `ScoreStream`, `GetModel`."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeVar

import grpc.aio

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import align2llava_pb2_grpc as pb_grpc
from align2llava.clients.wire.convert import to_proto
from align2llava.clients.wire.schemas import ScoreRequest
from align2llava.services.core.metrics import OK, metrics
from align2llava.services.core.scoring import ScoreCore
from align2llava.services.errors import (
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    UnavailableError,
    error_body,
)
from align2llava.services.faults import service_error
from align2llava.services.process.lifecycle import Runtime
from align2llava.services.surfaces.rpc.surface import (
    Context,
    Servicers,
    aborted,
    answered,
    deadline_of,
    model_answered,
    parsed,
)

MAX_STREAM_REQUESTS = 64

_SURFACE = "grpc"
_METHOD = "score_stream"

T = TypeVar("T")


class RewardServicer(pb_grpc.QuestionRewardServicer, pb_grpc.AnswerRewardServicer):
    """Serves either reward service: their methods and messages are the same."""

    def __init__(self, runtime: Runtime[ScoreCore]) -> None:
        self._runtime = runtime
        self._draining = asyncio.Event()

    def begin_drain(self) -> None:
        """Ends streams as soon as they have nothing in flight."""
        self._draining.set()

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:  # noqa: N802  (gRPC's name)
        """Answers one request."""
        return await answered(
            request,
            context,
            method="score",
            schema=ScoreRequest,
            refuse_early=self._runtime.refuse_early,
            ask=lambda asked, deadline: self._runtime.core.score(asked, deadline=deadline),
            answer=pb.ScoreResponse,
            settings=self._runtime.settings,
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.ModelIdentity:  # noqa: ARG002, N802  (empty; gRPC's name)
        """Answers which model this is."""
        return await model_answered(lambda: self._runtime.core.identity, context)

    async def ScoreStream(  # noqa: N802  (gRPC's name)
        self, request_iterator: AsyncIterator[pb.ScoreStreamRequest], context: Context
    ) -> None:
        """Answers each request of a stream as soon as it is done."""
        stream = _Stream(self._runtime, context)
        try:
            async with aclosing(until_set(self._draining, request_iterator)) as requests:
                async for request in requests:
                    await stream.accept(request)
            await stream.finish()
        finally:
            await stream.cancel()
        if self._draining.is_set():
            await aborted(context, UnavailableError("the service is shutting down"))


class _Stream:
    """The requests in flight of one stream."""

    def __init__(self, runtime: Runtime[ScoreCore], context: Context) -> None:
        self._runtime = runtime
        self._context = context
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._write = asyncio.Lock()  # one message at a time per call

    async def accept(self, request: pb.ScoreStreamRequest) -> None:
        """Starts on a request, or refuses it."""
        request_id = request.request_id
        if not request_id or request_id in self._tasks:
            await self._refuse(
                request_id,
                InvalidRequestError(f"request_id {request_id!r} is empty or already in flight"),
            )
        elif len(self._tasks) >= MAX_STREAM_REQUESTS:
            retry_after_ms = self._runtime.started.parts.admission.retry_after_ms()
            await self._refuse(
                request_id,
                OverloadedError(
                    f"{len(self._tasks)} requests are in flight on this stream; the limit is "
                    f"{MAX_STREAM_REQUESTS}",
                    retry_after_ms=retry_after_ms,
                ),
            )
        else:
            deadline = self._deadline(request)
            task = asyncio.create_task(self._answer(request, deadline))
            self._tasks[request_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(request_id, None))

    def _deadline(self, request: pb.ScoreStreamRequest) -> float:
        default_ms = request.deadline_ms or self._runtime.settings.default_deadline_ms
        own = asyncio.get_running_loop().time() + default_ms / 1e3
        return min(own, deadline_of(self._context, default_ms))

    async def _answer(self, request: pb.ScoreStreamRequest, deadline: float) -> None:
        began = time.perf_counter()
        try:
            self._runtime.refuse_early()
            max_items = self._runtime.settings.max_request_items
            asked = await parsed(request.request, ScoreRequest, max_items=max_items)
            response = await self._runtime.core.score(asked, deadline=deadline)
            answer = pb.ScoreStreamResponse(
                request_id=request.request_id, response=to_proto(response, pb.ScoreResponse)
            )
            code = OK
        # An error of any kind ends its request and not the stream.
        except Exception as raised:  # noqa: BLE001  (logged by `service_error`)
            error = service_error(raised)
            answer = _failed(request.request_id, error)
            code = error.code.value
        metrics().count_request(
            surface=_SURFACE, method=_METHOD, code=code, elapsed_s=time.perf_counter() - began
        )
        await self._send(answer)

    async def _refuse(self, request_id: str, error: ServiceError) -> None:
        metrics().count_request(surface=_SURFACE, method=_METHOD, code=error.code, elapsed_s=0.0)
        await self._send(_failed(request_id, error))

    async def _send(self, answer: pb.ScoreStreamResponse) -> None:
        async with self._write:
            await self._context.write(answer)

    async def finish(self) -> None:
        """Waits until everything in flight is answered."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def cancel(self) -> None:
        """Ends what is still in flight, where the caller has gone."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def until_set(event: asyncio.Event, source: AsyncIterator[T]) -> AsyncGenerator[T]:
    """Yields from `source` until it ends or the event is set, even while it waits for more."""
    waiting = asyncio.ensure_future(event.wait())
    following: asyncio.Future[T] | None = None
    try:
        while not event.is_set():
            following = asyncio.ensure_future(anext(source))
            await asyncio.wait({following, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            try:
                yield following.result()
            except StopAsyncIteration:
                return
    finally:
        waiting.cancel()
        if following is not None:
            following.cancel()


def _failed(request_id: str, error: ServiceError) -> pb.ScoreStreamResponse:
    return pb.ScoreStreamResponse(
        request_id=request_id, error=to_proto(error_body(error), pb.Error)
    )


def question_servicers(runtime: Runtime[ScoreCore]) -> Servicers:
    """Returns the gRPC side of question-reward."""
    return _servicers(runtime, "QuestionReward", pb_grpc.add_QuestionRewardServicer_to_server)


def answer_servicers(runtime: Runtime[ScoreCore]) -> Servicers:
    """Returns the gRPC side of answer-reward."""
    return _servicers(runtime, "AnswerReward", pb_grpc.add_AnswerRewardServicer_to_server)


def _servicers(
    runtime: Runtime[ScoreCore],
    name: str,
    register: Callable[[RewardServicer, grpc.aio.Server], None],
) -> Servicers:
    servicer = RewardServicer(runtime)
    return Servicers(
        names=(pb.DESCRIPTOR.services_by_name[name].full_name,),
        register=lambda server: register(servicer, server),
        begin_drain=servicer.begin_drain,
    )
