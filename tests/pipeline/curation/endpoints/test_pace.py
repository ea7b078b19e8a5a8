import pytest

from align2llava.clients.wire.schemas import Group, Image, Item, RewriteItem
from align2llava.pipeline.curation.endpoints.pace import (
    GAP_SHARE,
    PacedInnerLLMClient,
    PacedRewardClient,
    Throughput,
)
from tests.pipeline.curation.fake_clients import Calls, FakeInnerLLM, FakeReward, identity


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.events: list[dict[str, object]] = []

    def __call__(self) -> float:
        return self.now

    def notify(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})


def paced(clock: Clock) -> Throughput:
    return Throughput("question-reward", notify=clock.notify, clock=clock)


def test_each_event_tells_what_came_since_the_one_before_it():
    clock = Clock()
    pace = paced(clock)
    for _ in range(7):
        pace.begin()
        clock.now += 0.4
        pace.answered(32, device_ms=5.0)
    pace.tell()
    told = [(one["elapsed_s"], one["num_items"], one["num_calls"]) for one in clock.events]
    assert told == [(1.2, 96, 3), (2.4, 96, 3), (2.8, 32, 1)]
    assert sum(float(str(one["device_ms"])) for one in clock.events) == pytest.approx(35.0)


def test_events_of_a_long_run_are_bounded():
    clock = Clock()
    pace = paced(clock)
    for _ in range(36_000):  # ten hours, a call each second
        pace.begin()
        clock.now += 1.0
        pace.answered(32, device_ms=1.0)
    assert len(clock.events) < 1500
    assert sum(int(str(one["num_items"])) for one in clock.events) > 32 * 36_000 * (1 - GAP_SHARE)


def test_nothing_is_told_where_nothing_was_answered():
    clock = Clock()
    pace = paced(clock)
    pace.begin()
    pace.tell()
    assert not clock.events


async def test_answers_of_both_kinds_of_clients_are_counted_and_unchanged():
    clock = Clock()
    reward = FakeReward(identity("question-reward"), Calls())
    group = Group(
        image=Image(sha256="0" * 64, data=b"x"),
        items=tuple(Item(id=str(number), questions=("What?",)) for number in range(3)),
    )
    pace = paced(clock)
    answer = await PacedRewardClient(reward, pace).score([group], timeout_s=1)
    assert answer == await reward.score([group], timeout_s=1)
    llm_pace = Throughput("inner-llm", notify=clock.notify, clock=clock)
    llm = FakeInnerLLM(identity("inner-llm"), Calls())
    items = [RewriteItem(id="a", question="What?", answer="That.")]
    assert await PacedInnerLLMClient(llm, llm_pace).rewrite(
        items, timeout_s=1
    ) == await llm.rewrite(items, timeout_s=1)
    pace.tell()
    llm_pace.tell()
    told = [(one["service"], one["num_items"], one["device_ms"]) for one in clock.events]
    assert told == [("question-reward", 3, 3.0), ("inner-llm", 1, 0.0)]
