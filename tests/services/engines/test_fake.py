import pytest
from PIL import Image

from align2llava.clients.wire.schemas import Turn
from align2llava.services.engines.api import Candidate, RewardGroup, RowReward
from align2llava.services.engines.fake import FakeLanguageEngine, FakeRewardEngine
from align2llava.services.engines.prompts import (
    ReviewOrder,
    parse_rewrite,
    review_messages,
    rewrite_messages,
)


def group(*texts: str, colour: str = "red") -> RewardGroup:
    rows = tuple(Candidate(questions=(text,), answer=None) for text in texts)
    return RewardGroup(image=Image.new("RGB", (4, 4), colour), candidates=rows)


def scored(engine: FakeRewardEngine, *groups: RewardGroup):
    return engine.launch([engine.prepare(one) for one in groups])()


def test_rewards_are_decided_by_image_and_text():
    engine = FakeRewardEngine("question-reward")
    first, again, other = scored(
        engine, group("a", "b"), group("b", "a"), group("a", colour="blue")
    )
    rewards = [row.reward for row in first.rows if isinstance(row, RowReward)]
    assert rewards == [row.reward for row in reversed(again.rows) if isinstance(row, RowReward)]
    blue = other.rows[0]
    assert isinstance(blue, RowReward)
    assert len({*rewards, blue.reward}) == 3
    assert all(-1 <= reward < 1 for reward in rewards)


def test_faults_stay_in_their_row_except_a_crash():
    engine = FakeRewardEngine("answer-reward")
    rows = scored(engine, group("[[too-large]]", "[[internal]]", "[[truncated]] x"))[0].rows
    assert [getattr(row, "code", None) for row in rows] == ["too_large", "internal", None]
    assert isinstance(rows[2], RowReward)
    assert rows[2].truncated
    with pytest.raises(RuntimeError):
        scored(engine, group("[[crash]]"))


async def complete(messages, **options) -> str:
    settings = {"temperature": 0.0, "seed": 0, "max_tokens": 0} | options
    return (await FakeLanguageEngine().complete(messages, **settings)).text


async def test_rewrite_is_a_turn_with_the_same_texts_inside():
    turn = Turn(question="Is 1 < 2 & 3?", answer="Yes.")
    rewritten = parse_rewrite(await complete(rewrite_messages(turn)))
    assert rewritten == Turn(question="Please tell: Is 1 < 2 & 3?", answer="I see: Yes.")


@pytest.mark.parametrize(
    ("order", "letter"), [(ReviewOrder.ORIGINAL_FIRST, "B"), (ReviewOrder.REWRITE_FIRST, "A")]
)
async def test_review_finds_its_own_rewrite_in_either_place(order: ReviewOrder, letter: str):
    original = Turn(question="q", answer="a")
    rewrite = Turn(question="Please tell: q", answer="I see: a")
    messages = review_messages(original, rewrite, order=order)
    assert await complete(messages, choices=("A", "B")) == letter


async def test_completion_is_cut_at_its_bound():
    turn = Turn(question="one two three", answer="four five")
    rollout = await FakeLanguageEngine().complete(
        rewrite_messages(turn), temperature=0.0, seed=0, max_tokens=2
    )
    assert (rollout.finish_reason, rollout.num_completion_tokens) == ("length", 2)
