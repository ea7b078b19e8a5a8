from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import align2llava_pb2_grpc as pb_grpc
from align2llava.services import inner_llm
from align2llava.services.inner_llm import InnerLLM
from tests.services.in_process import in_process


@pytest.fixture
async def stub() -> AsyncIterator[pb_grpc.InnerLLMStub]:
    async with in_process(InnerLLM, inner_llm.RUNTIME) as service:
        yield pb_grpc.InnerLLMStub(service.channel)


async def test_all_methods_answer(stub: pb_grpc.InnerLLMStub):
    turn = pb.Turn(question="q", answer="a")
    rewritten = await stub.Rewrite(
        pb.RewriteRequest(items=[pb.RewriteItem(id="a", question="q", answer="a")])
    )
    reviewed = await stub.Review(
        pb.ReviewRequest(items=[pb.ReviewItem(id="a", original=turn, rewrite=turn)])
    )
    likely = await stub.Likelihood(
        pb.LikelihoodRequest(items=[pb.LikelihoodItem(id="a", prompt="p", completion="c d")])
    )
    model = await stub.GetModel(pb.GetModelRequest())
    assert rewritten.items[0].rewritten.answer == "I see: a"
    assert reviewed.items[0].reviewed.verdict == pb.VERDICT_ORIGINAL
    assert likely.items[0].num_tokens == 2
    assert {model.identity} == {one.model.identity for one in (rewritten, reviewed, likely)}


async def test_missing_turn_is_invalid(stub: pb_grpc.InnerLLMStub):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Review(pb.ReviewRequest(items=[pb.ReviewItem(id="a")]))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = refused.value.details()
    assert details is not None
    assert "original" in details
