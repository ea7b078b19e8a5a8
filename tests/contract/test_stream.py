"""ScoreStream: every request answered once, in any order; a fault ends its request alone."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from clients.wire import align2llava_pb2 as pb
from clients.wire.convert import to_proto
from clients.wire.schemas import ScoreRequest
from tests.contract.servers import Server
from tests.contract.wire_values import question_group

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
async def channel(question_server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{question_server.grpc_port}") as channel:
        yield channel


def stream_request(request_id: str, *texts: str, deadline_ms: int = 0) -> pb.ScoreStreamRequest:
    request = to_proto(ScoreRequest(groups=(question_group(*texts),)), pb.ScoreRequest)
    return pb.ScoreStreamRequest(request_id=request_id, deadline_ms=deadline_ms, request=request)


async def answers(
    channel: grpc.aio.Channel, requests: list[pb.ScoreStreamRequest]
) -> dict[str, pb.ScoreStreamResponse]:
    call = channel.stream_stream(
        "/align2llava.v1.QuestionReward/ScoreStream",
        request_serializer=pb.ScoreStreamRequest.SerializeToString,
        response_deserializer=pb.ScoreStreamResponse.FromString,
    )
    found: dict[str, pb.ScoreStreamResponse] = {}
    async with asyncio.timeout(30):
        async for response in call(iter(requests)):
            assert response.request_id not in found
            found[response.request_id] = response
    return found


async def test_every_request_is_answered_once(channel: grpc.aio.Channel):
    requests = [stream_request(str(i), "a", str(i)) for i in range(50)]
    found = await answers(channel, requests)
    assert set(found) == {str(i) for i in range(50)}
    assert all(response.HasField("response") for response in found.values())


async def test_fault_ends_its_request_alone(channel: grpc.aio.Channel):
    requests = [
        stream_request("good", "a"),
        stream_request("bad"),
        stream_request("late", "[[slow 400]]", deadline_ms=20),
        stream_request("also good", "b"),
    ]
    found = await answers(channel, requests)
    assert {name: r.error.code for name, r in found.items()} == {
        "good": "",
        "bad": "invalid_request",
        "late": "deadline_exceeded",
        "also good": "",
    }


async def test_request_beyond_64_in_flight_is_overloaded(channel: grpc.aio.Channel):
    requests = [stream_request(str(i), "[[slow 20]]") for i in range(80)]
    found = await answers(channel, requests)
    refused = [r for r in found.values() if r.HasField("error")]
    assert len(found) == 80
    assert refused
    assert {r.error.code for r in refused} == {"overloaded"}
    assert all(r.error.retry_after_ms > 0 for r in refused)
