"""What both gRPC surfaces share: keys, health, reflection, errors, limits."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import align2llava_pb2_grpc as pb_grpc
from align2llava.clients.wire.schemas import ScoreRequest
from align2llava.services import inner_llm
from align2llava.services.errors import TooLargeError
from align2llava.services.inner_llm import InnerLLM
from align2llava.services.surfaces.rpc.surface import parsed
from tests.services.in_process import InProcess, in_process, until


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[InProcess]:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    environ = {"A2L_API_KEYS_FILE": str(keys), "A2L_MAX_BODY_BYTES": "2000"}
    async with in_process(InnerLLM, inner_llm.RUNTIME, environ) as service:
        yield service


KEY = (("authorization", "Bearer secret"),)


def rewrite(question: str = "What?") -> pb.RewriteRequest:
    return pb.RewriteRequest(items=[pb.RewriteItem(id="a", question=question, answer="This.")])


async def health_of(service: InProcess, name: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(service.channel)
    check = stub.Check  # pyright: ignore[reportAttributeAccessIssue]  (not in its stub)
    return (await check(health_pb2.HealthCheckRequest(service=name))).status


def listing() -> reflection_pb2.ServerReflectionRequest:
    return reflection_pb2.ServerReflectionRequest(list_services="")


async def nothing() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    """Writes nothing: a write to a stream that the server has ended would hide its status."""
    await asyncio.Event().wait()
    yield listing()


async def test_calls_need_the_key(strict: InProcess):
    stub = pb_grpc.InnerLLMStub(strict.channel)
    assert (await stub.Rewrite(rewrite(), metadata=KEY)).items[0].HasField("rewritten")
    for metadata in ((), (("authorization", "Bearer wrong"),)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Rewrite(rewrite(), metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert dict(refused.value.trailing_metadata())["a2l-code"] == "unauthenticated"


async def test_reflection_needs_the_key_and_health_does_not(strict: InProcess):
    stub = cast("Any", reflection_pb2_grpc.ServerReflectionStub)(strict.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in stub.ServerReflectionInfo(nothing()):
            pass
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    names = [
        found.name
        async for answer in stub.ServerReflectionInfo(iter([listing()]), metadata=KEY)
        for found in answer.list_services_response.service
    ]
    assert "align2llava.v1.InnerLLM" in names
    assert await health_of(strict) == health_pb2.HealthCheckResponse.SERVING
    assert (
        await health_of(strict, "align2llava.v1.InnerLLM") == health_pb2.HealthCheckResponse.SERVING
    )


async def test_message_over_the_limit_is_refused(strict: InProcess):
    stub = pb_grpc.InnerLLMStub(strict.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Rewrite(rewrite("x" * 3000), metadata=KEY)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "a2l-code" not in dict(refused.value.trailing_metadata())


async def test_deadline_is_kept_and_named(strict: InProcess):
    stub = pb_grpc.InnerLLMStub(strict.channel)
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await stub.Rewrite(rewrite("[[slow 3000]]"), metadata=KEY, timeout=0.05)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_cancelled_call_leaves_the_door(strict: InProcess):
    door = strict.runtime.started.parts.admission
    call = pb_grpc.InnerLLMStub(strict.channel).Rewrite(rewrite("[[slow 3000]]"), metadata=KEY)
    await until(lambda: door.num_items == 1)
    call.cancel()
    await until(lambda: door.num_items == 0)


async def test_draining_service_is_not_serving_at_once(strict: InProcess):
    strict.runtime.begin_drain()
    assert await health_of(strict) == health_pb2.HealthCheckResponse.NOT_SERVING
    stub = pb_grpc.InnerLLMStub(strict.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Rewrite(rewrite(), metadata=KEY)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(refused.value.trailing_metadata())["a2l-code"] == "unavailable"


@pytest.mark.parametrize("num_groups", [1, 9, 3000])
async def test_more_items_than_can_be_answered_are_refused_before_they_are_validated(
    num_groups: int,
):
    group = pb.Group(items=[pb.Item()] * (3000 // num_groups))
    request = pb.ScoreRequest(groups=[group] * num_groups)
    with pytest.raises(TooLargeError, match="the limit is 1024 items"):
        await parsed(request, ScoreRequest, max_items=1024)
