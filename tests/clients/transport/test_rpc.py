"""The gRPC client against an in-process server: errors by status and trailer, answers by schema."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import (
    BadAnswerError,
    ClientError,
    DeadlineError,
    InvalidRequestError,
    OtherServiceError,
)
from align2llava.clients.transport.rpc import GrpcInnerLLMClient, GrpcRewardClient
from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.codes import TABLE, Code
from align2llava.clients.wire.schemas import Group, Item, RewriteItem

MODEL = pb.ModelIdentity(name="m", kind="k", identity="i")
GROUP = Group(items=(Item(id="a", questions=("q",)),))
Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


@asynccontextmanager
async def server(method: str, handler: Handler) -> AsyncIterator[Endpoint]:
    """One unary method, in raw bytes, on a free port."""
    grpc_server = grpc.aio.server()
    service, name = method.split("/")
    handlers = {name: grpc.unary_unary_rpc_method_handler(handler)}
    grpc_server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(f"align2llava.v1.{service}", handlers),)
    )
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    try:
        yield Endpoint(url=f"grpc://127.0.0.1:{port}", api_key="secret", max_body_bytes=10_000)
    finally:
        await grpc_server.stop(None)


@asynccontextmanager
async def question_client(handler: Handler) -> AsyncIterator[GrpcRewardClient]:
    async with server("QuestionReward/Score", handler) as endpoint:
        client = GrpcRewardClient(endpoint, kind="question-reward")
        try:
            yield client
        finally:
            await client.aclose()


def answer(*, item_id: str = "a", reward: float = 0.5) -> bytes:
    item = pb.ItemReward(id=item_id, reward=reward)
    response = pb.ScoreResponse(model=MODEL, groups=[pb.GroupRewards(items=[item])])
    return response.SerializeToString()


async def test_request_carries_key_and_deadline():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        assert ("authorization", "Bearer secret") in list(context.invocation_metadata() or ())
        assert 0 < context.time_remaining() <= 5
        assert pb.ScoreRequest.FromString(request).groups[0].items[0].questions == ["q"]
        return answer()

    async with question_client(handler) as client:
        response = await client.score([GROUP], timeout_s=5)
    assert response.groups[0].items[0].reward == 0.5


@pytest.mark.parametrize("code", [c for c in Code if c not in (Code.OVERLOADED, Code.UNAVAILABLE)])
async def test_trailer_decides_the_error(code: Code):
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(TABLE[code].grpc_status, "why", (("a2l-code", code.value),))

    async with question_client(handler) as client:
        with pytest.raises(ClientError, match="why") as caught:
            await client.score([GROUP], timeout_s=5)
    assert caught.value.code is code


async def test_retry_after_is_kept():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        trailers = (("a2l-code", "overloaded"), ("a2l-retry-after-ms", "30000"))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", trailers)

    async with question_client(handler) as client:
        with pytest.raises(ClientError) as caught:
            await client.score([GROUP], timeout_s=1)
    assert caught.value.retry_after_s == 30


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff", answer(reward=float("nan")), answer(item_id="b"), b""],
    ids=["not a message", "nan", "other id", "empty"],
)
async def test_answer_outside_the_schema_is_a_server_fault(data: bytes):
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return data

    async with question_client(handler) as client:
        with pytest.raises(BadAnswerError):
            await client.score([GROUP], timeout_s=5)


async def test_answer_over_the_limit_is_a_bad_answer_as_over_rest():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return b"x" * 10_001

    async with question_client(handler) as client:
        with pytest.raises(BadAnswerError, match="larger than any may be"):
            await client.score([GROUP], timeout_s=5)


async def test_text_outside_unicode_is_refused_here():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        raise AssertionError

    async with question_client(handler) as client:
        with pytest.raises(InvalidRequestError):
            await client.score([Group(items=(Item(id="\ud800"),))], timeout_s=5)


async def test_slow_service_is_a_deadline():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(5)
        return b""

    async with question_client(handler) as client:
        with pytest.raises(DeadlineError):
            await client.score([GROUP], timeout_s=0.05)


async def test_method_that_is_unknown_is_a_server_fault():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return b""

    async with server("AnswerReward/Score", handler) as endpoint:
        client = GrpcRewardClient(endpoint, kind="question-reward")
        with pytest.raises(ClientError, match=r"(?i)not found|unimplemented"):
            await client.score([GROUP], timeout_s=5)
        await client.aclose()


async def test_rewrite_speaks_its_own_messages():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        item = pb.RewriteResult(id="a", unparsed="?", finish_reason="length")
        return pb.RewriteResponse(model=MODEL, items=[item]).SerializeToString()

    async with server("InnerLLM/Rewrite", handler) as endpoint:
        client = GrpcInnerLLMClient(endpoint)
        turn = RewriteItem(id="a", question="q", answer="a")
        response = await client.rewrite([turn], timeout_s=5)
        await client.aclose()
    assert response.items[0].unparsed == "?"


async def test_service_of_another_kind_is_named():
    async def handler(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return MODEL.SerializeToString()

    async with server("InnerLLM/GetModel", handler) as endpoint:
        client = GrpcRewardClient(endpoint, kind="question-reward")
        with pytest.raises(OtherServiceError, match="inner-llm service answers there"):
            await client.model(timeout_s=5)
        await client.aclose()


async def test_proxy_is_named_in_the_error():
    proxied = Endpoint(url="grpc://far.invalid:1", proxy="http://127.0.0.1:9")
    client = GrpcRewardClient(proxied, kind="question-reward", retries=False)
    with pytest.raises(ClientError, match=r"through the proxy http://127\.0\.0\.1:9"):
        await client.model(timeout_s=5)
    await client.aclose()
