"""Bytes that are no message, over every shape of call; with health, reflection, and no method."""

import logging

import grpc
import grpc.aio
import pytest

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.services import inner_llm, question_reward
from align2llava.services.inner_llm import InnerLLM
from align2llava.services.question_reward import QuestionReward
from tests.services.in_process import in_process

GARBAGE = b"\xff\xff\xff\xff"
SERVICE = "/align2llava.v1.QuestionReward"


async def refused(channel: grpc.aio.Channel, method: str, *, is_stream: bool, data: bytes):
    """The error of a call whose only request is `data`."""
    if is_stream:
        answer = channel.stream_stream(method)(iter([data]), timeout=5).read()
    else:
        answer = channel.unary_unary(method)(data, timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return caught.value


@pytest.mark.parametrize("data", [GARBAGE, b"\x0a\x08\x12\x06\x0a\x01a\x12\x01\xff"])
@pytest.mark.parametrize(
    ("method", "is_stream"),
    [
        (f"{SERVICE}/Score", False),
        (f"{SERVICE}/ScoreStream", True),
        ("/grpc.health.v1.Health/Check", False),
        ("/grpc.health.v1.Health/Watch", True),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", True),
    ],
)
async def test_undecodable_request_is_invalid_and_one_quiet_line(
    caplog: pytest.LogCaptureFixture, method: str, is_stream: bool, data: bytes
):
    async with in_process(QuestionReward, question_reward.RUNTIME) as service:
        caplog.clear()
        caplog.set_level(logging.INFO)
        if data != GARBAGE and not method.startswith(SERVICE):
            data = b"\x0a\x01\xff"
        error = await refused(service.channel, method, is_stream=is_stream, data=data)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert dict(error.trailing_metadata())["a2l-code"] == "invalid_request"
        details = error.details()
        assert details is not None
        assert method in details
        assert "DecodeError" not in details
        lines = [one for one in caplog.records if method in one.getMessage()]
        assert len(lines) == 1
        assert lines[0].exc_info is None
        assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_stream_answers_what_came_before_garbage_is_refused():
    async with in_process(QuestionReward, question_reward.RUNTIME) as service:
        good = pb.ScoreStreamRequest(request_id="a", request=pb.ScoreRequest())
        call = service.channel.stream_stream(f"{SERVICE}/ScoreStream")(timeout=5)
        await call.write(good.SerializeToString())
        data = await call.read()
        assert isinstance(data, bytes)
        answer = pb.ScoreStreamResponse.FromString(data)
        assert answer.error.code == "invalid_request"
        await call.write(GARBAGE)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# gRPC refuses by chance what is between 8 and 16 KiB of metadata, so that the long name stays below.
@pytest.mark.parametrize("method", [f"{SERVICE}/Score", "/no.Service/Do", f"/{'x' * 4000}/Do"])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_method_that_is_not_there_keeps_its_status_and_is_named(method: str, is_stream: bool):
    async with in_process(InnerLLM, inner_llm.RUNTIME) as service:
        error = await refused(service.channel, method, is_stream=is_stream, data=b"")
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert dict(error.trailing_metadata())["a2l-code"] == "invalid_request"
        details = error.details()
        assert details is not None
        assert method[:50] in details


async def test_error_that_quotes_much_of_a_request_reaches_the_caller():
    async with in_process(QuestionReward, question_reward.RUNTIME) as service:
        item = pb.Item(id="\U0001f642" * 20_000, questions=["x"])
        group = pb.Group(image=pb.Image(sha256="0" * 64), items=[item, item])
        request = pb.ScoreRequest(groups=[group]).SerializeToString()
        error = await refused(service.channel, f"{SERVICE}/Score", is_stream=False, data=request)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert dict(error.trailing_metadata())["a2l-code"] == "invalid_request"
