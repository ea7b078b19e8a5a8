"""Clients without a network: rewards and rewrites that only content decides, and faults on request.

Words in a text ask for faults: `[[item CODE]]` fails its item, `[[call]]` every call it is part of,
`[[rest]]` every such call after the other items were answered,
`[[unparsed]]`, `[[long]]`, `[[leak]]` spoil a rewrite, `[[reject]]` prefers the original.
"""

import asyncio
import hashlib
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from align2llava.clients.api import InnerLLMClient, LoadImage, RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import ClientError, ServerFaultError
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import (
    ErrorBody,
    Group,
    GroupRewards,
    Item,
    ItemReward,
    LikelihoodItem,
    LikelihoodResponse,
    ModelIdentity,
    Reviewed,
    ReviewItem,
    ReviewResponse,
    ReviewResult,
    RewriteItem,
    RewriteResponse,
    RewriteResult,
    ScoreResponse,
    Turn,
    Usage,
    Verdict,
)

_ITEM_FAULT = re.compile(r"\[\[item (\w+)\]\]")


def identity(kind: str, name: str = "a") -> ModelIdentity:
    return ModelIdentity(
        name="fake",
        kind=kind,
        identity=f"{kind}-{name}",
        weights_sha256="0" * 64,
        dtype="float32",
        template_version="1",
    )


@dataclass
class Calls:
    """What was asked of all clients of one connector, and when it all ends."""

    asked: list[str] = field(default_factory=list)  # item ids
    batches: list[int] = field(default_factory=list)  # items of each call
    log: Path | None = None
    kill_after: int | None = None
    delay_s: float = 0.0
    fail_after: int | None = None
    error: Callable[[], ClientError] = lambda: ServerFaultError("down")

    def begin(self, texts: Sequence[str], num_items: int) -> None:
        if self.fail_after is not None and len(self.batches) >= self.fail_after:
            raise self.error()
        self.batches.append(num_items)
        if any("[[call]]" in text for text in texts):
            raise self.error()

    def end(self, ids: Sequence[str]) -> None:
        self.asked.extend(ids)
        if self.log is not None:
            with self.log.open("a") as file:
                file.writelines(f"{name}\n" for name in ids)
        if self.kill_after is not None and len(self.batches) >= self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


def _texts(item: Item) -> tuple[str, ...]:
    return (*item.questions, item.question or "", item.answer or "")


def _is_left(item: Item) -> bool:
    return any("[[rest]]" in text for text in _texts(item))


def reward_of(image_sha256: str, item: Item) -> float:
    digest = hashlib.sha256("\0".join((image_sha256, *_texts(item))).encode()).digest()
    return int.from_bytes(digest[:3], "big") / 2**23 - 1


class FakeReward(RewardClient):
    def __init__(self, model: ModelIdentity, calls: Calls) -> None:
        self._model = model
        self._calls = calls
        self._held: set[str] = set()

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        for group in groups:
            await self._take_image(group, load)
        items = [item for group in groups for item in group.items]
        self._calls.begin([text for item in items for text in _texts(item)], len(items))
        await asyncio.sleep(self._calls.delay_s)
        answers = tuple(
            GroupRewards(
                items=tuple(self._outcome(group, item) for item in group.items),
                usage=Usage(device_ms=float(len(group.items))),
            )
            for group in groups
        )
        self._calls.end([item.id for item in items if not _is_left(item)])
        response = ScoreResponse(model=self._model, groups=answers)
        if any(_is_left(item) for item in items):
            raise self._calls.error().with_partial(response)
        return response

    async def _take_image(self, group: Group, load: LoadImage | None) -> None:
        assert group.image is not None
        if group.image.sha256 in self._held:
            return
        if group.image.data is None:
            assert load is not None
            await asyncio.to_thread(load, group.image.sha256)
        self._held.add(group.image.sha256)

    def _outcome(self, group: Group, item: Item) -> ItemReward:
        assert group.image is not None
        fault = _ITEM_FAULT.search(" ".join(_texts(item)))
        code = "image_needed" if _is_left(item) else fault and fault[1]
        if code is not None:
            return ItemReward(id=item.id, error=ErrorBody(code=code, message="as asked"))
        return ItemReward(id=item.id, reward=reward_of(group.image.sha256, item), num_tokens=9)

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        return self._model

    async def aclose(self) -> None:
        return


class FakeInnerLLM(InnerLLMClient):
    def __init__(self, model: ModelIdentity, calls: Calls) -> None:
        self._model = model
        self._calls = calls

    async def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        self._calls.begin([item.question + item.answer for item in items], len(items))
        answers = tuple(self._rewritten(item) for item in items)
        self._calls.end([item.id for item in items])
        return RewriteResponse(model=self._model, items=answers)

    def _rewritten(self, item: RewriteItem) -> RewriteResult:
        text = item.question + item.answer
        fault = _ITEM_FAULT.search(text)
        if fault is not None:
            return RewriteResult(id=item.id, error=ErrorBody(code=fault[1], message="as asked"))
        if "[[unparsed]]" in text:
            return RewriteResult(id=item.id, unparsed="hm", finish_reason="stop")
        answer = f"So: {item.answer}"
        if "[[leak]]" in text:
            answer += " </answer>"
        reason = "length" if "[[long]]" in text else "stop"
        turn = Turn(question=f"Say: {item.question}", answer=answer)
        return RewriteResult(id=item.id, rewritten=turn, finish_reason=reason)

    async def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        self._calls.begin([], len(items))
        answers = tuple(
            ReviewResult(id=item.id, reviewed=_reviewed(item.original.answer)) for item in items
        )
        self._calls.end([f"review {item.id}" for item in items])
        return ReviewResponse(model=self._model, items=answers)

    async def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        raise AssertionError("the driver never asks for likelihoods")

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        return self._model

    async def aclose(self) -> None:
        return


def _reviewed(answer: str) -> Reviewed:
    second = Verdict.ORIGINAL if "[[reject]]" in answer else Verdict.REWRITE
    return Reviewed(verdict=second, original_first=Verdict.REWRITE, rewrite_first=second)


@dataclass
class FakeConnector:
    """Connects to fakes; `names` gives models another identity by kind."""

    calls: Calls = field(default_factory=Calls)
    names: dict[str, str] = field(default_factory=dict)
    endpoints: list[Endpoint] = field(default_factory=list)
    purpose: str = ""  # what the models' cards say

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> RewardClient:
        self.endpoints.append(endpoint)
        return FakeReward(self._model(kind), self.calls)

    def inner_llm(self, endpoint: Endpoint) -> InnerLLMClient:
        self.endpoints.append(endpoint)
        return FakeInnerLLM(self._model("inner-llm"), self.calls)

    def _model(self, kind: str) -> ModelIdentity:
        found = identity(kind, self.names.get(kind, "a"))
        return found.model_copy(update={"purpose": self.purpose})
