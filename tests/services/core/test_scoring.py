import asyncio
import hashlib
import io
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from align2llava.clients.wire import schemas
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import Group, Item, ScoreRequest, ScoreResponse
from align2llava.services.core.admission import Admission
from align2llava.services.core.metrics import metrics
from align2llava.services.core.scoring import ScoreCore, float32, item_reward
from align2llava.services.engines.api import PreparedGroup, RowReward
from align2llava.services.engines.fake import FakeRewardEngine
from align2llava.services.errors import (
    DeadlineError,
    InternalError,
    InvalidRequestError,
    OverloadedError,
    TooLargeError,
)
from align2llava.services.settings import load_settings

_BUFFER = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(_BUFFER, "PNG")
DATA = _BUFFER.getvalue()
RED = schemas.Image(sha256=hashlib.sha256(DATA).hexdigest(), data=DATA)


@asynccontextmanager
async def core(
    kind: RewardKind = "question-reward", engine: FakeRewardEngine | None = None, **environ: str
) -> AsyncIterator[ScoreCore]:
    settings = load_settings(kind, {"A2L_ENGINE": "fake", **environ})
    door = Admission(max_items=settings.max_queue_items, max_bytes=settings.max_queue_bytes)
    with ThreadPoolExecutor(1) as executor:
        made = ScoreCore(
            engine or FakeRewardEngine(kind),
            kind=kind,
            settings=settings,
            executor=executor,
            admission=door,
            metrics=metrics(),
        )
        yield made
        await made.aclose()


def questions(item_id: str, *texts: str) -> Item:
    return Item(id=item_id, questions=texts)


def request(*items: Item, image: schemas.Image | None = RED) -> ScoreRequest:
    return ScoreRequest(groups=(Group(image=image, items=items),))


async def score(asked: ScoreCore, wanted: ScoreRequest, *, after_s: float = 5.0) -> ScoreResponse:
    return await asked.score(wanted, deadline=asyncio.get_running_loop().time() + after_s)


def codes(response: ScoreResponse) -> list[str]:
    return [
        item.error.code if item.error is not None else "ok"
        for group in response.groups
        for item in group.items
    ]


async def test_items_are_answered_in_order_with_identity_and_usage():
    async with core() as asked:
        response = await score(asked, request(questions("b", "x", "y"), questions("a", "z")))
    group = response.groups[0]
    assert [item.id for item in group.items] == ["b", "a"]
    assert response.model.kind == "question-reward"
    assert group.usage.prefix_tokens > 0
    assert group.usage.suffix_tokens == 3


async def test_reward_depends_on_image_and_text_only():
    async with core() as asked:
        alone = await score(asked, request(questions("a", "x")))
        among = await score(asked, request(questions("n", "other"), questions("m", "x")))
        hashed = schemas.Image(sha256=RED.sha256)
        known = await score(asked, request(questions("a", "x"), image=hashed))
    assert alone.groups[0].items[0].reward == among.groups[0].items[1].reward
    assert known.groups[0].items[0].reward == alone.groups[0].items[0].reward


@pytest.mark.parametrize(
    ("kind", "item", "code"),
    [
        ("question-reward", Item(id="a", question="q", answer="a"), "invalid_request"),
        ("question-reward", Item(id="a"), "invalid_request"),
        ("question-reward", questions("a", "x", " \n"), "invalid_request"),
        ("question-reward", questions("a", "x" * 40_000), "too_large"),
        ("question-reward", questions("a", "[[too-large]]"), "too_large"),
        ("question-reward", questions("a", "[[internal]]"), "internal"),
        ("question-reward", questions("a", "[[nan]]"), "internal"),
        ("answer-reward", questions("a", "x"), "invalid_request"),
        ("answer-reward", Item(id="a", question="q"), "invalid_request"),
        ("answer-reward", Item(id="a", question="q", answer=""), "invalid_request"),
        ("answer-reward", Item(id="a", question=" ", answer="a"), "invalid_request"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_bad_item_costs_only_itself(kind: RewardKind, item: Item, code: str):
    is_question = kind == "question-reward"
    good = questions("g", "x") if is_question else Item(id="g", question="q", answer="a")
    async with core(kind) as asked:
        response = await score(asked, request(item, good))
    assert codes(response) == [code, "ok"]


async def test_crash_of_the_engine_costs_only_its_group():
    wanted = ScoreRequest(
        groups=(
            Group(image=RED, items=(questions("a", "x"),)),
            Group(image=RED, items=(questions("b", "[[crash]]"), questions("c", "x"))),
        )
    )
    async with core() as asked:
        response = await score(asked, wanted)
    assert codes(response) == ["ok", "internal", "internal"]
    error = response.groups[1].items[0].error
    assert error is not None
    assert "RuntimeError" in error.message


@pytest.mark.parametrize(
    ("image", "code"),
    [
        pytest.param(None, "invalid_request", id="text only"),
        pytest.param(schemas.Image(sha256="1" * 64), "image_needed", id="unknown hash"),
        pytest.param(schemas.Image(sha256="1" * 64, data=DATA), "image_invalid", id="wrong hash"),
    ],
)
async def test_image_error_stands_on_every_item_of_its_group(
    image: schemas.Image | None, code: str
):
    good = Group(image=RED, items=(questions("a", "x"),))
    bad = Group(image=image, items=(questions("a", "x"), Item(id="b")))
    async with core() as asked:
        response = await score(asked, ScoreRequest(groups=(bad, good)))
    assert codes(response) == [code, code, "ok"]


async def test_text_only_groups_are_scored_where_allowed():
    async with core(A2L_ALLOW_TEXT_ONLY="1") as asked:
        response = await score(asked, request(questions("a", "x"), image=None))
    assert codes(response) == ["ok"]
    assert response.groups[0].usage.prefix_tokens == 0


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(ScoreRequest(groups=()), id="no groups"),
        pytest.param(request(), id="no items"),
        pytest.param(request(questions("a", "x"), questions("a", "y")), id="repeated id"),
        pytest.param(request(questions("", "x")), id="no id"),
    ],
)
async def test_malformed_request_fails_whole(wanted: ScoreRequest):
    async with core() as asked:
        with pytest.raises(InvalidRequestError):
            await score(asked, wanted)


async def test_same_id_in_two_groups_is_fine():
    group = Group(image=RED, items=(questions("a", "x"),))
    async with core() as asked:
        assert codes(await score(asked, ScoreRequest(groups=(group, group)))) == ["ok", "ok"]


async def test_too_many_items_are_too_large():
    async with core(A2L_MAX_REQUEST_ITEMS="1") as asked:
        with pytest.raises(TooLargeError, match="the limit is 1"):
            await score(asked, request(questions("a", "x"), questions("b", "y")))


async def test_full_service_refuses_and_late_request_ends():
    async with core(A2L_MAX_QUEUE_ITEMS="1") as asked:
        slow = asyncio.create_task(
            score(asked, request(questions("a", "[[slow 50]]")), after_s=0.01)
        )
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await score(asked, request(questions("b", "x")))
        with pytest.raises(DeadlineError):
            await slow
        assert codes(await score(asked, request(questions("b", "x")))) == ["ok"]


async def test_request_behind_more_than_its_share_of_a_batch_is_refused():
    async with core(A2L_MAX_BATCH_TOKENS="60", A2L_MAX_QUEUE_BATCHES="0.5") as asked:
        await asked.warm_up()  # tells that an item has 12 tokens
        four = [questions(str(i), "[[slow 20]]") for i in range(4)]
        accepted = [
            asyncio.create_task(score(asked, request(questions("a", "[[slow 20]]")))),
            asyncio.create_task(score(asked, request(*four))),  # 48 tokens
        ]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="ahead of the request; the limit is 30") as full:
            await score(asked, request(questions("b", "x")))
        assert full.value.retry_after_ms >= 50
        assert [codes(answer) for answer in await asyncio.gather(*accepted)] == [["ok"], ["ok"] * 4]
        assert codes(await score(asked, request(questions("b", "x")))) == ["ok"]


async def test_cancelled_request_never_reaches_the_engine():
    engine = FakeRewardEngine("question-reward")
    async with core(engine=engine) as asked:
        busy = asyncio.create_task(score(asked, request(questions("a", "[[slow 40]]"))))
        while engine.num_calls == 0:  # noqa: ASYNC110  (counted in another thread)
            await asyncio.sleep(0.001)
        gone = asyncio.create_task(score(asked, request(questions("b", "x"))))
        await asyncio.sleep(0.01)
        gone.cancel()
        await busy
        await asyncio.gather(gone, return_exceptions=True)
    assert engine.num_calls == 1


class MiscountingEngine(FakeRewardEngine):
    def launch(self, groups: Sequence[PreparedGroup]) -> Callable[[], list]:
        return lambda: 2 * super(MiscountingEngine, self).launch(groups)()


async def test_engine_that_miscounts_is_an_internal_error():
    async with core(engine=MiscountingEngine("question-reward")) as asked:
        assert codes(await score(asked, request(questions("a", "x")))) == ["internal"]


@pytest.mark.parametrize("kind", ["question-reward", "answer-reward"])
async def test_warm_up_asks_the_engine_once(kind: RewardKind):
    engine = FakeRewardEngine(kind)
    async with core(kind, engine=engine) as asked:
        await asked.warm_up()
        assert asked.is_running
    assert engine.num_calls == 1
    assert not asked.is_running


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), 1e39])
def test_reward_outside_float32_is_an_internal_error(reward: float):
    with pytest.raises(InternalError):
        float32(reward)
    row = RowReward(reward=reward, num_tokens=3, truncated=False)
    error = item_reward("a", row).error
    assert error is not None
    assert error.code == "internal"


def test_rewards_are_float32():
    assert float32(0.1) == struct.unpack("<f", struct.pack("<f", 0.1))[0] != 0.1
