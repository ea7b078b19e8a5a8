import asyncio

import pytest

from align2llava.clients.wire.schemas import (
    LikelihoodItem,
    LikelihoodRequest,
    ReviewItem,
    ReviewRequest,
    RewriteItem,
    RewriteRequest,
    Sampling,
    Turn,
    Verdict,
)
from align2llava.services.core.admission import Admission
from align2llava.services.core.aligning import AlignCore
from align2llava.services.core.metrics import metrics
from align2llava.services.engines.fake import FakeLanguageEngine
from align2llava.services.errors import (
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    TooLargeError,
)
from align2llava.services.settings import load_settings

TURN = Turn(question="What?", answer="This & <that>.")


def core(**environ: str) -> AlignCore:
    settings = load_settings("inner-llm", {"A2L_ENGINE": "fake", **environ})
    door = Admission(max_items=settings.max_queue_items, max_bytes=settings.max_queue_bytes)
    return AlignCore(FakeLanguageEngine(), settings=settings, admission=door, metrics=metrics())


def soon(after_s: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + after_s


def item(item_id: str, question: str = "What?", answer: str = "This.", **more) -> RewriteItem:
    return RewriteItem(id=item_id, question=question, answer=answer, **more)


async def test_rewrite_reports_the_turn_and_how_it_was_drawn():
    wanted = RewriteItem(id="a", question=TURN.question, answer=TURN.answer)
    response = await core().rewrite(RewriteRequest(items=(wanted,)), deadline=soon())
    result = response.items[0]
    assert result.rewritten == Turn(
        question=f"Please tell: {TURN.question}", answer=f"I see: {TURN.answer}"
    )
    assert result.finish_reason == "stop"
    assert result.sampling == Sampling(max_tokens=result.num_prompt_tokens + 64)
    assert response.model.kind == "inner-llm"
    assert response.device_ms > 0


async def test_sampling_is_passed_on_and_reported_as_used():
    sampling = Sampling(temperature=0.5, seed=7, max_tokens=3)
    wanted = RewriteRequest(items=(item("a", sampling=sampling),))
    result = (await core().rewrite(wanted, deadline=soon())).items[0]
    assert result.sampling == sampling
    assert result.finish_reason == "length"
    assert result.num_completion_tokens == 3


async def test_bad_items_cost_only_themselves():
    items = (
        item("unparsed", "[[unparsed]]"),
        item("crash", "[[crash]]"),
        item("long", "[[too-large]]"),
        item("longer", "x" * 40_000),
        item("blank", " "),
        item("good"),
    )
    response = await core().rewrite(RewriteRequest(items=items), deadline=soon())
    outcomes = {
        result.id: result.error.code if result.error else (result.unparsed or "rewritten")
        for result in response.items
    }
    assert list(outcomes) == [one.id for one in items]
    assert outcomes == {
        "unparsed": "Here is no turn at all.",
        "crash": "internal",
        "long": "too_large",
        "longer": "too_large",
        "blank": "invalid_request",
        "good": "rewritten",
    }


async def test_review_takes_the_rewrite_only_where_both_orders_agree():
    better = Turn(question="Please tell: What?", answer="I see: This.")
    items = (
        ReviewItem(id="agree", original=TURN, rewrite=better),
        ReviewItem(id="differ", original=TURN, rewrite=TURN),
        ReviewItem(id="blank", original=TURN, rewrite=Turn(question="", answer="x")),
    )
    response = await core().review(ReviewRequest(items=items), deadline=soon())
    agree, differ, blank = response.items
    assert agree.reviewed is not None
    assert differ.reviewed is not None
    assert blank.error is not None
    assert agree.reviewed.verdict is Verdict.REWRITE
    assert differ.reviewed.verdict is Verdict.ORIGINAL
    assert {differ.reviewed.original_first, differ.reviewed.rewrite_first} == set(Verdict)
    assert blank.error.code == "invalid_request"


async def test_likelihood_is_finite_or_an_error():
    items = (
        LikelihoodItem(id="a", prompt="p", completion="one two"),
        LikelihoodItem(id="b", prompt="p", completion="[[nan]]"),
    )
    response = await core().likelihood(LikelihoodRequest(items=items), deadline=soon())
    assert response.items[0].num_tokens == 2
    error = response.items[1].error
    assert error is not None
    assert error.code == "internal"


@pytest.mark.parametrize(
    "items",
    [
        pytest.param((), id="none"),
        pytest.param((item("a"), item("a")), id="repeated id"),
        pytest.param((item(""),), id="no id"),
    ],
)
async def test_malformed_request_fails_whole(items: tuple[RewriteItem, ...]):
    with pytest.raises(InvalidRequestError):
        await core().rewrite(RewriteRequest(items=items), deadline=soon())


async def test_too_many_items_are_too_large():
    with pytest.raises(TooLargeError):
        await core(A2L_MAX_REQUEST_ITEMS="1").rewrite(
            RewriteRequest(items=(item("a"), item("b"))), deadline=soon()
        )


async def test_full_service_refuses_and_late_request_ends():
    asked = core(A2L_MAX_QUEUE_ITEMS="1")
    slow = RewriteRequest(items=(item("a", "[[slow 3000]]"),))
    late = asyncio.create_task(asked.rewrite(slow, deadline=soon(0.02)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await asked.rewrite(RewriteRequest(items=(item("b"),)), deadline=soon())
    with pytest.raises(DeadlineError):
        await late
    response = await asked.rewrite(RewriteRequest(items=(item("b"),)), deadline=soon())
    assert response.items[0].rewritten is not None


async def test_warm_up_asks_the_engine():
    await core().warm_up()
