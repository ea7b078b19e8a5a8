"""Clients that tell a meter of each call: what goes out, and what its answer cost.

They stand below pools, so that retries and second calls count. Asking who a model is costs nothing.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from align2llava.clients.api import InnerLLMClient, LoadImage, RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import ClientError
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import (
    Group,
    LikelihoodItem,
    LikelihoodResponse,
    ModelIdentity,
    ReviewItem,
    ReviewResponse,
    RewriteItem,
    RewriteResponse,
    ScoreResponse,
)
from align2llava.pipeline.curation.endpoints.opening import Connector

CANARY_PREFIX = "canary/"  # of item ids that are asked again, see `canaries`
CallKind = Literal["question-reward", "answer-reward", "rewrite", "review", "likelihood"]
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCost:
    """What one item of an answered call cost; device time is its even share of its group's."""

    id: str
    num_tokens: int
    device_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCost:
    """One answered call; `started_s` and `ended_s` are of the monotonic clock."""

    kind: CallKind
    items: tuple[ItemCost, ...]
    started_s: float
    ended_s: float


class Meter(Protocol):
    """Is told of the calls of a run."""

    async def begin(self, *, ends_begun: bool) -> None:
        """Lets a call go out, or raises; `ends_begun` = it belongs to one that was answered."""
        ...

    def end(self, cost: CallCost | None) -> None:
        """Takes the end of a call that went out; None = it has no answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredConnector:
    """Opens services as another connector does, with every call told to a meter."""

    connector: Connector
    meter: Meter

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> RewardClient:
        """See `Connector.reward`."""
        return _MeteredReward(self.connector.reward(endpoint, kind=kind), self.meter, kind=kind)

    def inner_llm(self, endpoint: Endpoint) -> InnerLLMClient:
        """See `Connector.inner_llm`."""
        return _MeteredInnerLLM(self.connector.inner_llm(endpoint), self.meter)


class _MeteredReward(RewardClient):
    def __init__(self, inner: RewardClient, meter: Meter, *, kind: RewardKind) -> None:
        self._inner = inner
        self._meter = meter
        self._kind: RewardKind = kind

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        return await _metered(
            self._meter,
            lambda: self._inner.score(groups, timeout_s=timeout_s, load=load),
            kind=self._kind,
            costs=_score_costs,
            ends_begun=all(i.id.startswith(CANARY_PREFIX) for group in groups for i in group.items),
        )

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        return await self._inner.model(timeout_s=timeout_s)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _MeteredInnerLLM(InnerLLMClient):
    def __init__(self, inner: InnerLLMClient, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    async def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        return await _metered(
            self._meter,
            lambda: self._inner.rewrite(items, timeout_s=timeout_s),
            kind="rewrite",
            costs=_text_costs,
        )

    async def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        return await _metered(
            self._meter,
            lambda: self._inner.review(items, timeout_s=timeout_s),
            kind="review",
            costs=_text_costs,
            ends_begun=True,  # without it the rewrite before would be of no use
        )

    async def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        return await _metered(
            self._meter,
            lambda: self._inner.likelihood(items, timeout_s=timeout_s),
            kind="likelihood",
            costs=_likelihood_costs,
        )

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        return await self._inner.model(timeout_s=timeout_s)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _metered(
    meter: Meter,
    call: Callable[[], Awaitable[R]],
    *,
    kind: CallKind,
    costs: Callable[[R], Iterable[ItemCost]],
    ends_begun: bool = False,
) -> R:
    await meter.begin(ends_begun=ends_begun)
    started_s = time.monotonic()
    items: tuple[ItemCost, ...] | None = None
    try:
        response = await call()
        items = tuple(costs(response))
    except ClientError as error:
        if error.partial is not None:
            items = tuple(_partial_costs(error.partial))
        raise
    finally:
        span = {"started_s": started_s, "ended_s": time.monotonic()}
        meter.end(None if items is None else CallCost(kind=kind, items=items, **span))
    return response


def _partial_costs(response: ScoreResponse) -> Iterable[ItemCost]:
    """Yields what was answered before a call failed; the rest is asked for, and counted, again."""
    for group in response.groups:
        rewarded = [item for item in group.items if item.reward is not None]
        for item in rewarded:
            device_ms = group.usage.device_ms / len(rewarded)
            yield ItemCost(id=item.id, num_tokens=item.num_tokens, device_ms=device_ms)


def _score_costs(response: ScoreResponse) -> Iterable[ItemCost]:
    for group in response.groups:
        for item in group.items:
            yield ItemCost(
                id=item.id,
                num_tokens=item.num_tokens,
                device_ms=group.usage.device_ms / len(group.items),
            )


def _text_costs(response: RewriteResponse | ReviewResponse) -> Iterable[ItemCost]:
    for item in response.items:
        yield ItemCost(
            id=item.id,
            num_tokens=item.num_prompt_tokens + item.num_completion_tokens,
            device_ms=response.device_ms / len(response.items),
        )


def _likelihood_costs(response: LikelihoodResponse) -> Iterable[ItemCost]:
    for item in response.items:
        yield ItemCost(
            id=item.id,
            num_tokens=item.num_tokens,
            device_ms=response.device_ms / len(response.items),
        )
