"""Rewrite, review and likelihood: the same over REST and gRPC."""

import pytest

from align2llava.clients.api import InnerLLMClient
from align2llava.clients.errors import DeadlineError, InvalidRequestError
from align2llava.clients.wire.schemas import (
    LikelihoodItem,
    ReviewItem,
    RewriteItem,
    Sampling,
    Turn,
    Verdict,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def rewrite_item(item_id: str, question: str = "q", answer: str = "a") -> RewriteItem:
    return RewriteItem(id=item_id, question=question, answer=answer)


async def test_rewrite_answers_each_item_in_order(inner: InnerLLMClient):
    response = await inner.rewrite(
        [rewrite_item("a"), rewrite_item("b", "[[unparsed]]"), rewrite_item("c", "[[internal]]")],
        timeout_s=10,
    )
    first, second, third = response.items
    assert first.rewritten is not None
    assert first.rewritten != Turn(question="q", answer="a")
    assert (first.finish_reason, first.sampling) == ("stop", first.sampling)
    assert first.num_prompt_tokens > 0
    assert second.unparsed == "Here is no turn at all."
    assert third.error is not None
    assert third.error.code == "internal"
    assert response.model == await inner.model(timeout_s=10)
    assert response.model.template_version


async def test_rewrite_says_how_it_sampled(inner: InnerLLMClient):
    sampling = Sampling(temperature=0.5, seed=3, max_tokens=2)
    item = RewriteItem(id="a", question="q", answer="a", sampling=sampling)
    result = (await inner.rewrite([item], timeout_s=10)).items[0]
    assert result.sampling == sampling
    assert result.finish_reason == "length"
    assert result.num_completion_tokens == 2


async def test_review_needs_both_orders_to_choose_the_rewrite(inner: InnerLLMClient):
    original = Turn(question="q", answer="a")
    rewrite = Turn(question="Please tell: q", answer="I see: a")
    items = [
        ReviewItem(id="a", original=original, rewrite=rewrite),
        ReviewItem(id="b", original=original, rewrite=Turn(question="[[reject]]", answer="a")),
    ]
    agreed, split = (await inner.review(items, timeout_s=10)).items
    assert agreed.reviewed is not None
    assert agreed.reviewed.verdict is Verdict.REWRITE
    assert split.reviewed is not None
    assert split.reviewed.original_first is not split.reviewed.rewrite_first
    assert split.reviewed.verdict is Verdict.ORIGINAL


async def test_likelihood_counts_tokens_of_the_completion(inner: InnerLLMClient):
    items = [
        LikelihoodItem(id="a", prompt="p", completion="one two"),
        LikelihoodItem(id="b", prompt="p", completion="[[nan]]"),
    ]
    first, second = (await inner.likelihood(items, timeout_s=10)).items
    assert first.num_tokens == 2
    assert first.nll is not None
    assert first.nll > 0
    assert second.error is not None
    assert second.error.code == "internal"


async def test_empty_or_repeated_items_are_invalid(inner: InnerLLMClient):
    with pytest.raises(InvalidRequestError):
        await inner.rewrite([], timeout_s=10)
    with pytest.raises(InvalidRequestError):
        await inner.rewrite([rewrite_item("a"), rewrite_item("a")], timeout_s=10)


async def test_blank_answer_is_invalid_alone(inner: InnerLLMClient):
    items = [rewrite_item("a", answer=" "), rewrite_item("b")]
    first, second = (await inner.rewrite(items, timeout_s=10)).items
    assert first.error is not None
    assert first.error.code == "invalid_request"
    assert second.rewritten is not None


async def test_deadline_is_kept(inner: InnerLLMClient):
    with pytest.raises(DeadlineError):
        await inner.rewrite([rewrite_item("a", "[[slow 3000]]")], timeout_s=0.1)
