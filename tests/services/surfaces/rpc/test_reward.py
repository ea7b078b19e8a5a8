import asyncio
import hashlib
import io
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from PIL import Image

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import align2llava_pb2_grpc as pb_grpc
from align2llava.services import answer_reward, question_reward
from align2llava.services.answer_reward import AnswerReward
from align2llava.services.question_reward import QuestionReward
from align2llava.services.surfaces.rpc.reward import MAX_STREAM_REQUESTS, until_set
from tests.services.in_process import InProcess, in_process, until

_BUFFER = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(_BUFFER, "PNG")
RED = pb.Image(sha256=hashlib.sha256(_BUFFER.getvalue()).hexdigest(), data=_BUFFER.getvalue())


@pytest.fixture
async def running() -> AsyncIterator[InProcess]:
    async with in_process(QuestionReward, question_reward.RUNTIME) as service:
        yield service


def request(text: str = "x") -> pb.ScoreRequest:
    return pb.ScoreRequest(groups=[pb.Group(image=RED, items=[pb.Item(id="a", questions=[text])])])


def streamed(request_id: str, text: str = "x", *, deadline_ms: int = 0) -> pb.ScoreStreamRequest:
    return pb.ScoreStreamRequest(
        request_id=request_id, request=request(text), deadline_ms=deadline_ms
    )


async def answers_of(service: InProcess, *requests: pb.ScoreStreamRequest) -> dict[str, str]:
    """The code of each answer by request id, `ok` for a response."""
    call = pb_grpc.QuestionRewardStub(service.channel).ScoreStream()
    for one in requests:
        await call.write(one)
    await call.done_writing()
    found = [(a.request_id, a.error.code if a.HasField("error") else "ok") async for a in call]
    assert len({request_id for request_id, _ in found}) == len(found)
    return dict(found)


async def test_score_and_model_answer_for_both_kinds(running: InProcess):
    stub = pb_grpc.QuestionRewardStub(running.channel)
    response = await stub.Score(request())
    assert -1 <= response.groups[0].items[0].reward <= 1
    assert response.model == await stub.GetModel(pb.GetModelRequest())


async def test_answer_reward_has_a_service_of_its_own():
    async with in_process(AnswerReward, answer_reward.RUNTIME) as service:
        stub = pb_grpc.AnswerRewardStub(service.channel)
        items = [pb.Item(id="a", question="q", answer="a")]
        response = await stub.Score(pb.ScoreRequest(groups=[pb.Group(image=RED, items=items)]))
        assert response.groups[0].items[0].HasField("reward")
        assert response.model.kind == "answer-reward"
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await pb_grpc.QuestionRewardStub(service.channel).Score(request())
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_malformed_request_carries_code_and_reason(running: InProcess):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pb_grpc.QuestionRewardStub(running.channel).Score(pb.ScoreRequest())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dict(refused.value.trailing_metadata())["a2l-code"] == "invalid_request"
    details = refused.value.details()
    assert details is not None
    assert "no groups" in details


async def test_full_service_refuses_what_it_has_not_parsed():
    environ = {"A2L_MAX_QUEUE_ITEMS": "1"}
    async with in_process(QuestionReward, question_reward.RUNTIME, environ) as service:
        stub = pb_grpc.QuestionRewardStub(service.channel)
        slow = stub.Score(request("[[slow 100]]"))
        await until(lambda: service.runtime.started.parts.admission.num_items == 1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Score(pb.ScoreRequest())
        assert dict(refused.value.trailing_metadata())["a2l-code"] == "overloaded"
        malformed = pb.ScoreStreamRequest(request_id="a", request=pb.ScoreRequest())
        assert await answers_of(service, malformed) == {"a": "overloaded"}
        assert (await slow).groups[0].items[0].HasField("reward")


async def test_stream_answers_every_request_once(running: InProcess):
    answers = await answers_of(running, *(streamed(str(n)) for n in range(10)))
    assert answers == {str(n): "ok" for n in range(10)}


async def test_error_ends_its_request_and_not_the_stream(running: InProcess):
    bad = pb.ScoreStreamRequest(request_id="bad", request=pb.ScoreRequest())
    late = streamed("late", "[[slow 40]]", deadline_ms=5)
    assert await answers_of(running, bad, late, streamed("good")) == {
        "bad": "invalid_request",
        "late": "deadline_exceeded",
        "good": "ok",
    }


async def test_stream_takes_at_most_64_requests_in_flight(running: InProcess):
    first = streamed("0", "[[slow 400]]")  # all the others arrive meanwhile
    more = [streamed(str(n)) for n in range(1, MAX_STREAM_REQUESTS + 2)]
    answers = await answers_of(running, first, *more)
    assert sorted(answers.values()) == ["ok"] * MAX_STREAM_REQUESTS + ["overloaded"] * 2
    assert answers[str(MAX_STREAM_REQUESTS)] == "overloaded"


async def test_request_id_must_be_given_and_not_in_flight(running: InProcess):
    call = pb_grpc.QuestionRewardStub(running.channel).ScoreStream()
    await call.write(streamed("a", "[[slow 40]]"))
    await call.write(streamed("a"))
    await call.write(streamed(""))
    await call.done_writing()
    codes = [(a.request_id, a.error.code) async for a in call]
    assert sorted(codes) == [("", "invalid_request"), ("a", ""), ("a", "invalid_request")]


async def test_cancelled_stream_leaves_the_door(running: InProcess):
    door = running.runtime.started.parts.admission
    call = pb_grpc.QuestionRewardStub(running.channel).ScoreStream()
    await call.write(streamed("a", "[[slow 40]]"))
    await call.write(streamed("b", "[[slow 40]]"))
    await until(lambda: door.num_items == 2)
    call.cancel()
    await until(lambda: door.num_items == 0)


async def test_drain_answers_what_is_in_flight_and_ends_the_stream(running: InProcess):
    door = running.runtime.started.parts.admission
    call = pb_grpc.QuestionRewardStub(running.channel).ScoreStream()
    await call.write(streamed("a", "[[slow 40]]"))
    await until(lambda: door.num_items == 1)
    running.runtime.begin_drain()
    assert (await call.read()).response.groups[0].items[0].HasField("reward")
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_source_is_left_while_it_waits():
    event = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        event.set()
        await asyncio.sleep(60)
        yield 2

    assert [n async for n in until_set(event, source())] == [1]


async def test_source_is_read_to_its_end():
    async def source() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [n async for n in until_set(asyncio.Event(), source())] == [1, 2]
