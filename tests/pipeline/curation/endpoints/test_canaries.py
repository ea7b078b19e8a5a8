import math
from pathlib import Path

import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import DeadlineError
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import Group, Image, Item
from align2llava.pipeline.config.schema import RunConfig
from align2llava.pipeline.curation.endpoints.canaries import (
    MAX_HELD_BYTES,
    MIN_REWARDS,
    PER_CALL,
    SHARE,
    CanaryClient,
)
from align2llava.pipeline.curation.figures.noise import measured_noise
from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.run.finished import run_events
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.errors import EndpointError
from tests.pipeline.curation.fake_clients import FakeConnector, identity
from tests.pipeline.curation.run_files import decisions
from tests.pipeline.curation.small_world import records, run, write_world
from tests.pipeline.curation.wavering_client import WaveringClient

CANARIES = 8


class Events:
    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.seen.append({"event": event, **fields})


def watched(
    inner: WaveringClient, *, canaries: int = CANARIES, tolerance: float = 0.5
) -> tuple[CanaryClient, Events]:
    events = Events()
    config = RunConfig(canaries=canaries, canary_tolerance=tolerance)
    client = CanaryClient(inner, service="question-reward", config=config, notify=events)
    return client, events


def groups(call: int, num_groups: int = 4, num_items: int = 2) -> list[Group]:
    return [
        Group(
            image=Image(sha256=f"{call:032x}{group:032x}", data=b"x"),
            items=tuple(
                Item(id=f"{call}/{group}/{item}", questions=(f"What is {call} {group} {item}?",))
                for item in range(num_items)
            ),
        )
        for group in range(num_groups)
    ]


async def test_rounds_cost_one_per_cent_and_one_at_the_end():
    inner = WaveringClient()
    client, events = watched(inner)
    num_items = 0
    while num_items < 2.5 * CANARIES / SHARE:
        num_items += sum(len(group.items) for group in groups(num_items))
        await client.score(groups(num_items), timeout_s=1)
    assert inner.num_canaries_asked == 2 * CANARIES
    assert inner.num_canaries_asked <= SHARE * num_items
    await client.compare_last()
    assert inner.num_canaries_asked == 3 * CANARIES
    assert len(events.seen) == 3


async def test_canaries_are_the_first_answered_spread_over_groups_and_calls():
    inner = WaveringClient()
    client, _ = watched(inner)
    for call in range(5):
        await client.score(groups(call, num_groups=PER_CALL + 2), timeout_s=1)
    await client.compare_last()
    assert inner.canary_ids == [
        f"canary/{call}/{group}/0" for call in range(2) for group in range(PER_CALL)
    ]


async def test_call_of_few_groups_gives_several_canaries_of_each():
    inner = WaveringClient()
    client, _ = watched(inner)
    await client.score(groups(0, num_groups=2, num_items=3), timeout_s=1)
    await client.compare_last()
    assert inner.canary_ids == [f"canary/0/{name}" for name in ("0/0", "1/0", "0/1", "1/1")]


async def test_service_that_always_says_the_same_has_no_noise():
    client, events = watched(WaveringClient())
    for call in range(3):
        await client.score(groups(call), timeout_s=1)
    await client.compare_last()
    assert events.seen == [
        {
            "event": "canaries_compared",
            "service": "question-reward",
            "identity": identity("question-reward").identity,
            "num_canaries": CANARIES,
            "num_compared": CANARIES,
            "num_moved": 0,
            "rms": 0.0,
            "largest": 0.0,
        }
    ]


async def test_noise_is_the_difference_of_two_answers_to_the_same_item():
    client, events = watched(WaveringClient(moves=(0.0, 0.01, -0.03, 0.02)))
    await client.score(groups(0), timeout_s=1)
    await client.compare_last()
    (noise,) = measured_noise(events.seen)
    assert (noise.num_canaries, noise.num_moved) == (4, 3)
    assert noise.largest == pytest.approx(0.03)
    assert noise.rms == pytest.approx(math.sqrt((0.01**2 + 0.03**2 + 0.02**2) / 4))


async def test_canary_that_moved_too_far_stops_the_run_and_names_itself_and_the_limit():
    client, events = watched(WaveringClient(moves=(0.0, 0.01, 0.9)))
    for call in range(4):
        await client.score(groups(call), timeout_s=1)
    with pytest.raises(
        EndpointError, match=r"question-reward: the same item canary/0/2/0 .*0\.5 of"
    ):
        await client.compare_last()
    assert EndpointError.exit_code == 4
    assert events.seen[-1]["largest"] == pytest.approx(0.9)  # it was noted before


async def test_drift_is_found_between_calls_before_their_answer_is_returned():
    inner = WaveringClient()
    client, _ = watched(inner)
    for call in range(90):
        await client.score(groups(call), timeout_s=1)
    inner.moves = (2.0,)

    async def score_on() -> None:
        for call in range(90, 110):
            await client.score(groups(call), timeout_s=1)

    with pytest.raises(EndpointError, match="the same item"):
        await score_on()


async def test_tolerance_is_the_users():
    client, _ = watched(WaveringClient(moves=(0.9,)), tolerance=3.0)
    for call in range(4):
        await client.score(groups(call), timeout_s=1)
    await client.compare_last()


async def test_too_few_rewards_have_no_spread_to_judge_by():
    assert 2 * PER_CALL < MIN_REWARDS
    client, events = watched(WaveringClient(moves=(0.9,)))
    await client.score(groups(0), timeout_s=1)
    await client.compare_last()
    assert events.seen[0]["num_moved"] == 4


async def test_round_that_fails_stops_nothing_and_is_told():
    inner = WaveringClient(canary_error=DeadlineError("no answer within 30 s"))
    client, events = watched(inner)
    await client.score(groups(0), timeout_s=1)
    await client.compare_last()
    assert events.seen == [
        {
            "event": "canaries_failed",
            "service": "question-reward",
            "code": "deadline_exceeded",
            "message": "no answer within 30 s",
        }
    ]


async def test_item_that_has_no_reward_is_no_canary_and_is_not_compared():
    inner = WaveringClient(moves=(None, 0.25))
    client, events = watched(inner)
    first, second, *_ = groups(0)
    spoiled = Item(id="spoiled", questions=("[[item internal]]",))
    await client.score(
        [Group(image=first.image, items=(spoiled, first.items[0])), second], timeout_s=1
    )
    await client.compare_last()
    assert inner.canary_ids == ["canary/0/1/0", "canary/0/0/0", "canary/0/1/1"]
    assert (events.seen[0]["num_canaries"], events.seen[0]["num_compared"]) == (3, 1)


async def test_image_is_loaded_again_by_the_loader_of_its_own_call():
    inner = WaveringClient()
    client, _ = watched(inner)
    for call in range(2):
        bare = [
            Group(image=Image(sha256=group.image.sha256), items=group.items)
            for group in groups(call)
            if group.image is not None
        ]
        await client.score(bare, timeout_s=1, load=_loader(call))
    await client.compare_last()
    assert [data[:6] for data in inner.loaded] == [b"call 0"] * PER_CALL + [b"call 1"] * PER_CALL


def _loader(call: int):
    return lambda sha256: f"call {call} {sha256}".encode()


async def test_large_image_that_would_be_held_in_memory_is_no_canary():
    inner = WaveringClient()
    client, events = watched(inner)
    large = Image(sha256="0" * 64, data=b"x" * (MAX_HELD_BYTES + 1))
    await client.score([Group(image=large, items=groups(0)[0].items)], timeout_s=1)
    await client.compare_last()
    assert not events.seen


class WaveringConnector(FakeConnector):
    """Its reward services move their canaries by `moves`."""

    def __init__(self, *moves: float) -> None:
        super().__init__()
        self.moves = moves

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> WaveringClient:
        return WaveringClient(moves=self.moves)


QUESTIONS_ONLY = ("selection.answer=off", "alignment.rewrite=off")


def test_run_with_a_drifted_service_ends_unfinished_and_goes_on_with_what_was_stored(
    tmp_path: Path,
):
    config, run_dir = write_world(tmp_path, records(40)), tmp_path / "run"
    with pytest.raises(EndpointError, match=r"run\.canary_tolerance 0\.5"):
        run(config, run_dir, connector=WaveringConnector(3.0), sets=QUESTIONS_ONLY)
    assert not RunPaths(run_dir).manifest.exists()
    again = WaveringConnector(0.0)
    run(config, run_dir, connector=again, sets=QUESTIONS_ONLY, resume=Resume.ALWAYS)
    assert {row["question_reward"] is None for row in decisions(run_dir)} == {False}
    (noise,) = measured_noise(run_events(RunPaths(run_dir)))
    assert noise.num_moved > 0
    assert noise.largest == pytest.approx(3.0)


async def test_no_canaries_are_asked_where_none_are_wanted():
    inner = WaveringClient()
    client, events = watched(inner, canaries=0)
    for call in range(300):
        await client.score(groups(call), timeout_s=1)
    await client.compare_last()
    assert not inner.canary_ids
    assert not events.seen
