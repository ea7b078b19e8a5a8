"""Fakes answer as services do, by the caller's own function."""

import pytest

from align2llava.clients.errors import UnavailableError
from align2llava.clients.fake import FakeInnerLLMClient, FakeRewardClient
from align2llava.clients.wire.schemas import (
    ErrorBody,
    Group,
    Image,
    Item,
    LikelihoodItem,
    ReviewItem,
    RewriteItem,
    Turn,
    Verdict,
)

TURN = Turn(question="What is it?", answer="Red.")


def item(name: str) -> Item:
    return Item(id=name, question="What is it?", answer=name)


async def test_rewards_are_the_functions_and_an_error_is_its_items():
    refused = ErrorBody(code="invalid_request", message="no")
    client = FakeRewardClient(
        lambda _, item: refused if item.id == "b" else len(item.answer or ""), kind="answer-reward"
    )
    async with client:
        response = await client.score([Group(items=(item("a"), item("b")))], timeout_s=1)
    first, second = response.groups[0].items
    assert (first.reward, second.error) == (1.0, refused)
    assert [one.id for one in client.asked] == ["a", "b"]
    assert response.model.kind == (await client.model(timeout_s=1)).kind == "answer-reward"


async def test_image_by_its_hash_is_loaded_once():
    loaded: list[str] = []

    def load(sha256: str) -> bytes:
        loaded.append(sha256)
        return b"image"

    client = FakeRewardClient(lambda image, _: float(image is not None), kind="question-reward")
    group = Group(image=Image(sha256="0" * 64), items=(Item(id="a", questions=("q",)),))
    await client.score([group], timeout_s=1, load=load)
    response = await client.score([group], timeout_s=1, load=load)
    assert response.groups[0].items[0].reward == 1.0
    assert loaded == ["0" * 64]


async def test_function_that_raises_fails_the_call():
    def away(_image: Image | None, _item: Item) -> float:
        raise UnavailableError("away")

    client = FakeRewardClient(away, kind="answer-reward")
    with pytest.raises(UnavailableError):
        await client.score([Group(items=(item("a"),))], timeout_s=1)


async def test_inner_llm_rewrites_reviews_and_tells_likelihoods():
    client = FakeInnerLLMClient(
        lambda item: Turn(question=item.question, answer=item.answer.upper()),
        prefers=lambda item: Verdict.ORIGINAL if item.id == "b" else Verdict.REWRITE,
        likelihood=lambda item: float(len(item.completion)),
    )
    rewrites = await client.rewrite([RewriteItem(id="a", **TURN.model_dump())], timeout_s=1)
    assert rewrites.items[0].rewritten == Turn(question="What is it?", answer="RED.")
    pairs = [ReviewItem(id=name, original=TURN, rewrite=TURN) for name in "ab"]
    verdicts = [
        one.reviewed and one.reviewed.verdict
        for one in (await client.review(pairs, timeout_s=1)).items
    ]
    assert verdicts == [Verdict.REWRITE, Verdict.ORIGINAL]
    told = await client.likelihood(
        [LikelihoodItem(id="a", prompt="p", completion="abc")], timeout_s=1
    )
    assert told.items[0].nll == 3.0
    assert len(client.asked) == 4
