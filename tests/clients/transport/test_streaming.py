"""Streams of the gRPC reward client against an in-process server: matched by id, broken, full, renewed."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import (
    BadAnswerError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from align2llava.clients.transport.rpc import GrpcRewardClient, error_of_rpc
from align2llava.clients.transport.streaming import MAX_IN_FLIGHT, ScoreStreams
from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.schemas import Group, Item, ScoreRequest, ScoreResponse

MODEL = pb.ModelIdentity(name="m", kind="k", identity="i")
Context = grpc.aio.ServicerContext[bytes, bytes]
Stream = Callable[["Service", AsyncIterator[bytes], Context], Awaitable[None]]


def group(item_id: str) -> Group:
    return Group(items=(Item(id=item_id, questions=("q",)),))


def response(request: pb.ScoreRequest) -> pb.ScoreResponse:
    items = [pb.ItemReward(id=i.id, reward=float(i.id)) for g in request.groups for i in g.items]
    return pb.ScoreResponse(model=MODEL, groups=[pb.GroupRewards(items=items)])


async def answer(context: Context, asked: pb.ScoreStreamRequest) -> None:
    message = pb.ScoreStreamResponse(request_id=asked.request_id, response=response(asked.request))
    await context.write(message.SerializeToString())


async def parsed(requests: AsyncIterator[bytes]) -> AsyncIterator[pb.ScoreStreamRequest]:
    async for data in requests:
        yield pb.ScoreStreamRequest.FromString(data)


class Service:
    """Counts streams and single calls; `act` is what a stream does."""

    def __init__(self, act: Stream) -> None:
        self.act = act
        self.single: Callable[[Context], Awaitable[None]] = lambda _: asyncio.sleep(0)
        self.num_streams = self.num_single = self.num_ended = 0
        self.deadlines_ms: list[int] = []
        self.keys: list[object] = []

    async def stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        self.num_streams += 1
        self.keys += [
            value for key, value in context.invocation_metadata() or () if key == "authorization"
        ]
        await self.act(self, requests, context)
        self.num_ended += 1

    async def score(self, request: bytes, context: Context) -> bytes:
        self.num_single += 1
        await self.single(context)
        return response(pb.ScoreRequest.FromString(request)).SerializeToString()


@asynccontextmanager
async def client_of(
    service: Service, *, has_streams: bool = True, retries: bool = False
) -> AsyncIterator[GrpcRewardClient]:
    server = grpc.aio.server()
    handlers = {"Score": grpc.unary_unary_rpc_method_handler(service.score)}
    if has_streams:
        handlers["ScoreStream"] = grpc.stream_stream_rpc_method_handler(service.stream)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("align2llava.v1.QuestionReward", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    endpoint = Endpoint(url=f"grpc://127.0.0.1:{port}", api_key="secret", max_body_bytes=10_000)
    client = GrpcRewardClient(endpoint, kind="question-reward", retries=retries)
    try:
        yield client
    finally:
        await client.aclose()
        await server.stop(None)


async def rewards(
    client: GrpcRewardClient, *ids: int, timeout_s: float = 5.0
) -> list[float | None]:
    responses: list[ScoreResponse] = await asyncio.gather(
        *(client.score([group(str(one))], timeout_s=timeout_s) for one in ids)
    )
    return [one.groups[0].items[0].reward for one in responses]


async def well(service: Service, requests: AsyncIterator[bytes], context: Context) -> None:
    async for asked in parsed(requests):
        service.deadlines_ms.append(asked.deadline_ms)
        await answer(context, asked)


async def test_calls_share_one_stream_with_key_and_deadlines():
    service = Service(well)
    async with client_of(service) as client:
        assert await rewards(client, *range(50)) == list(range(50))
        assert await rewards(client, 7) == [7]
    assert (service.num_streams, service.num_single) == (1, 0)
    assert service.keys == ["Bearer secret"]
    assert all(0 < ms <= 5000 for ms in service.deadlines_ms)


async def test_answers_in_another_order_go_to_their_calls():
    async def backwards(_: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        asked = [await anext(parsed(requests)) for _ in range(5)]
        for one in reversed(asked):
            await answer(context, one)
        await context.read()

    async with client_of(Service(backwards)) as client:
        assert await rewards(client, 1, 2, 3, 4, 5) == [1, 2, 3, 4, 5]


async def test_error_ends_its_request_alone():
    async def refusing(_: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        async for asked in parsed(requests):
            if asked.request.groups[0].items[0].id == "1":
                error = pb.Error(code="overloaded", message="full", retry_after_ms=1500)
                refusal = pb.ScoreStreamResponse(request_id=asked.request_id, error=error)
                await context.write(refusal.SerializeToString())
            else:
                await answer(context, asked)

    service = Service(refusing)
    async with client_of(service) as client:
        refused = asyncio.create_task(rewards(client, 1))
        assert await rewards(client, 2, 3) == [2, 3]
        with pytest.raises(OverloadedError, match="full") as caught:
            await refused
    assert caught.value.retry_after_s == 1.5
    assert service.num_streams == 1


@pytest.mark.parametrize("outcome", ["nothing", "other id", "nan"])
async def test_answer_outside_the_schema_is_a_server_fault(outcome: str):
    async def wrong(_: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        async for asked in parsed(requests):
            message = pb.ScoreStreamResponse(request_id=asked.request_id)
            if outcome != "nothing":
                message.response.CopyFrom(response(asked.request))
                item = message.response.groups[0].items[0]
                if outcome == "nan":
                    item.reward = float("nan")
                else:
                    item.id = "9"
            await context.write(message.SerializeToString())

    async with client_of(Service(wrong)) as client:
        with pytest.raises(BadAnswerError):
            await rewards(client, 1)


async def test_service_without_streams_is_asked_by_single_calls_for_good(
    caplog: pytest.LogCaptureFixture,
):
    service = Service(well)
    async with client_of(service, has_streams=False) as client:
        with caplog.at_level(logging.WARNING, "align2llava.clients.transport.rpc"):
            assert await rewards(client, *range(10)) == list(range(10))
            assert await rewards(client, 11) == [11]
    assert service.num_single == 11
    assert sum("no ScoreStream" in record.message for record in caplog.records) == 1


async def broken_at_first(
    service: Service, requests: AsyncIterator[bytes], context: Context
) -> None:
    if service.num_streams == 1:
        await anext(parsed(requests))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
    await well(service, requests, context)


async def test_broken_stream_fails_its_calls_and_the_next_is_opened_anew():
    service = Service(broken_at_first)
    async with client_of(service) as client:
        with pytest.raises(UnavailableError, match="going away"):
            await rewards(client, 1)
        assert await rewards(client, 2) == [2]
    assert service.num_streams == 2


async def test_calls_of_a_broken_stream_are_sent_again_and_none_is_lost():
    service = Service(broken_at_first)
    async with client_of(service, retries=True) as client:
        assert await rewards(client, *range(20)) == list(range(20))


async def test_stream_that_ends_in_order_loses_no_call():
    """As a server does that drains: it answers what it read, and ends."""

    async def few(service: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        for _ in range(7):
            await answer(context, await anext(parsed(requests)))

    service = Service(few)
    async with client_of(service, retries=True) as client:
        assert await rewards(client, *range(20)) == list(range(20))
    assert service.num_streams + service.num_single >= 3


@pytest.mark.parametrize("num_read", [0, 1])
async def test_refused_key_is_the_error_of_every_call(num_read: int):
    async def strict(_service: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        for _ in range(num_read):
            await anext(requests)
        await refuse_key(context)

    service = Service(strict)
    service.single = refuse_key
    async with client_of(service, retries=True) as client:
        calls = [asyncio.create_task(rewards(client, one)) for one in range(3)]
        for call in calls:
            with pytest.raises(UnauthenticatedError, match="no such key"):
                await call


async def refuse_key(context: Context) -> None:
    trailers = (("a2l-code", "unauthenticated"),)
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such key", trailers)


async def test_calls_of_a_stream_that_ends_for_an_unknown_reason_are_asked_alone():
    """One of them may be at fault: a request over the server's size limit ends the whole stream."""

    async def full(_: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "message too large")

    service = Service(full)
    async with client_of(service) as client:
        assert await rewards(client, 1, 2, 3) == [1, 2, 3]
    assert service.num_single == 3


async def test_stream_of_garbage_is_asked_alone():
    async def garbage(_: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        await context.write(b"\xff\xff")
        await context.read()

    service = Service(garbage)
    async with client_of(service) as client:
        assert await rewards(client, 1) == [1]
    assert service.num_single == 1


async def test_request_over_the_limit_harms_no_other():
    service = Service(well)
    async with client_of(service) as client:
        others = asyncio.create_task(rewards(client, 1, 2))
        big = Group(items=(Item(id="3", questions=("q" * 10_001,)),))
        with pytest.raises(TooLargeError):
            await client.score([big], timeout_s=5)
        assert await others == [1, 2]
        assert await rewards(client, 4) == [4]
    assert service.num_streams == 1


async def test_text_outside_unicode_harms_no_other():
    service = Service(well)
    async with client_of(service) as client:
        assert await rewards(client, 1) == [1]
        with pytest.raises(InvalidRequestError):
            await client.score([group("\ud800")], timeout_s=5)
        assert await rewards(client, 2) == [2]
    assert service.num_streams == 1


async def silent(service: Service, requests: AsyncIterator[bytes], context: Context) -> None:
    """Answers only those named 100 and up."""
    async for asked in parsed(requests):
        if int(asked.request.groups[0].items[0].id) >= 100:
            await answer(context, asked)


async def test_deadline_ends_its_request_alone():
    service = Service(silent)
    async with client_of(service) as client:
        with pytest.raises(DeadlineError, match=r"0\.03 s"):
            await rewards(client, 1, timeout_s=0.03)
        assert await rewards(client, 100) == [100]
    assert service.num_streams == 1


async def test_cancelled_call_is_forgotten_and_its_late_answer_harms_no_other():
    is_late = asyncio.Event()

    async def late(_: Service, requests: AsyncIterator[bytes], context: Context) -> None:
        held: list[pb.ScoreStreamRequest] = []
        async for asked in parsed(requests):
            held.append(asked)
            if asked.request_id != "1":
                for one in held:
                    await answer(context, one)
            is_late.set()

    async with client_of(Service(late)) as client:
        call = asyncio.create_task(rewards(client, 1))
        await is_late.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await rewards(client, 2) == [2]


async def test_another_stream_is_opened_when_one_is_full():
    service = Service(silent)
    async with client_of(service) as client:
        stuck = [asyncio.create_task(rewards(client, 1)) for _ in range(MAX_IN_FLIGHT)]
        await asyncio.sleep(0.02)
        assert await rewards(client, 100) == [100]
        for call in stuck:
            call.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
    assert service.num_streams == 2


async def test_call_in_flight_fails_when_the_client_is_closed():
    async with client_of(Service(silent)) as client:
        call = asyncio.create_task(rewards(client, 1))
        await asyncio.sleep(0.02)
        await client.aclose()
        with pytest.raises(UnavailableError, match="closed"):
            await call


class Opened:
    """Streams without a network: answers at once but for requests of id 1, and counts those open."""

    def __init__(self) -> None:
        self.num_opened = self.num_open = 0
        self.may_answer = asyncio.Event()

    async def __call__(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        self.num_opened += 1
        self.num_open += 1
        try:
            async for asked in parsed(requests):
                if asked.request.groups[0].items[0].id == "1":
                    await self.may_answer.wait()
                yield pb.ScoreStreamResponse(
                    request_id=asked.request_id, response=response(asked.request)
                ).SerializeToString()
        finally:
            self.num_open -= 1


async def asked(streams: ScoreStreams, item_id: str) -> float:
    request = ScoreRequest(groups=(group(item_id),))
    return (await streams.ask(request, timeout_s=5)).groups[0].items[0].reward


async def test_stream_past_its_age_takes_no_more_and_ends_with_its_last_answer():
    opened = Opened()
    streams = ScoreStreams(
        opened, error_of_rpc=error_of_rpc, max_message_bytes=10_000, max_age_s=0.01
    )
    first = asyncio.create_task(asked(streams, "1"))
    await asyncio.sleep(0.02)
    assert await asked(streams, "2") == 2
    assert (opened.num_opened, opened.num_open) == (2, 2)
    opened.may_answer.set()
    assert await first == 1
    await asyncio.sleep(0.005)
    assert opened.num_open == 1
    await streams.aclose()
    assert opened.num_open == 0


async def test_stream_past_its_age_is_not_kept_for_an_answer_nobody_waits_for():
    opened = Opened()
    streams = ScoreStreams(
        opened, error_of_rpc=error_of_rpc, max_message_bytes=10_000, max_age_s=0.01
    )
    given_up = asyncio.create_task(asked(streams, "1"))
    await asyncio.sleep(0.02)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert await asked(streams, "2") == 2
    assert await asked(streams, "3") == 3
    await asyncio.sleep(0.005)
    assert (opened.num_opened, opened.num_open) == (2, 1)
    await streams.aclose()
