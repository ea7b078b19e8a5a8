"""ScoreStream: every request answered once, in any order; a fault ends its request alone; clients use it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.convert import to_proto
from align2llava.clients.wire.schemas import ScoreRequest
from tests.contract.servers import Server, server
from tests.contract.wire_values import question_group, square

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


async def answered_over(running: Server, method: str) -> float:
    """How many requests the service has answered well."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{running.url('rest')}/metrics")).text
    line = rf'^a2l_requests_total{{code="ok",method="{method}",surface="grpc"}} (\S+)$'
    found = re.search(line, text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def test_client_streams_and_loses_no_call_when_connections_grow_old(tmp_path: Path):
    settings = {"A2L_MAX_CONNECTION_AGE_MS": "200", "BENTOML_CONFIG_OVERRIDES": "{}"}
    with server("question-reward", tmp_path, settings=settings) as running:
        client = running.reward_client("grpc")
        end = time.monotonic() + 1.5
        num_calls = 0
        while time.monotonic() < end:
            calls = [client.score([question_group(str(i))], timeout_s=10) for i in range(8)]
            for response in await asyncio.gather(*calls):
                assert response.groups[0].items[0].reward is not None
            num_calls += 8
        assert await answered_over(running, "score_stream") >= num_calls
        assert await answered_over(running, "score") == 0
        await client.aclose()


async def test_image_new_to_many_calls_is_read_for_one_or_two_of_them(
    question_server: Server,
):
    image = square("#0a0b0c")
    assert image.data is not None
    reads: list[str] = []

    def load(sha256: str) -> bytes:
        reads.append(sha256)
        assert image.data is not None
        return image.data

    by_hash = image.model_copy(update={"data": None})
    client = question_server.reward_client("grpc")
    groups = [[question_group(str(i), image=by_hash)] for i in range(20)]
    for response in await asyncio.gather(
        *(client.score(one, timeout_s=10, load=load) for one in groups)
    ):
        assert response.groups[0].items[0].reward is not None
    assert 1 <= len(reads) <= 2  # the first call may have guessed that the service holds it
    await client.aclose()
