"""How fast each service answered, as the run went: clients that leave an event every so often.

They change nothing of what is asked or answered, and decide nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from align2llava.clients.api import InnerLLMClient, LoadImage, RewardClient
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
from align2llava.pipeline.curation.store.events import ANSWERED, Notify

MIN_GAP_S = 1.0
GAP_SHARE = 0.005  # of the time gone: a run of ten hours leaves some 1,200 events a service


@dataclass(slots=True)
class _Sums:
    num_items: int = 0
    num_calls: int = 0
    device_ms: float = 0.0


class Throughput:
    """Counts what one service answered; each event tells what came since the one before it."""

    def __init__(
        self, service: str, *, notify: Notify, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._notify = notify
        self._clock = clock
        self._started: float | None = None
        self._told_s = 0.0
        self._last_s = 0.0
        self._sums = _Sums()

    def begin(self) -> None:
        """Notes that a call goes out; the first one starts the clock."""
        if self._started is None:
            self._started = self._clock()

    def answered(self, num_items: int, *, device_ms: float) -> None:
        """Counts one call's answer."""
        assert self._started is not None  # `begin` came first
        self._last_s = self._clock() - self._started
        self._sums.num_items += num_items
        self._sums.num_calls += 1
        self._sums.device_ms += device_ms
        if self._last_s - self._told_s >= max(MIN_GAP_S, GAP_SHARE * self._last_s):
            self.tell()

    def tell(self) -> None:
        """Leaves an event of what came since the last one, where anything did."""
        if not self._sums.num_calls:
            return
        sums, self._sums = self._sums, _Sums()
        self._told_s = self._last_s
        self._notify(
            ANSWERED,
            service=self._service,
            elapsed_s=round(self._last_s, 3),
            num_items=sums.num_items,
            num_calls=sums.num_calls,
            device_ms=round(sums.device_ms, 3),
        )


class PacedRewardClient(RewardClient):
    """A `RewardClient` whose answers are counted."""

    def __init__(self, inner: RewardClient, pace: Throughput) -> None:
        self._inner = inner
        self._pace = pace

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        """See `RewardClient.score`."""
        self._pace.begin()
        response = await self._inner.score(groups, timeout_s=timeout_s, load=load)
        self._pace.answered(
            sum(len(group.items) for group in response.groups),
            device_ms=sum(group.usage.device_ms for group in response.groups),
        )
        return response

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        """See `RewardClient.model`."""
        return await self._inner.model(timeout_s=timeout_s)

    async def aclose(self) -> None:
        """See `RewardClient.aclose`."""
        await self._inner.aclose()


class PacedInnerLLMClient(InnerLLMClient):
    """An `InnerLLMClient` whose answers are counted."""

    def __init__(self, inner: InnerLLMClient, pace: Throughput) -> None:
        self._inner = inner
        self._pace = pace

    async def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        """See `InnerLLMClient.rewrite`."""
        self._pace.begin()
        response = await self._inner.rewrite(items, timeout_s=timeout_s)
        self._pace.answered(len(response.items), device_ms=response.device_ms)
        return response

    async def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        """See `InnerLLMClient.review`."""
        self._pace.begin()
        response = await self._inner.review(items, timeout_s=timeout_s)
        self._pace.answered(len(response.items), device_ms=response.device_ms)
        return response

    async def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        """See `InnerLLMClient.likelihood`."""
        self._pace.begin()
        response = await self._inner.likelihood(items, timeout_s=timeout_s)
        self._pace.answered(len(response.items), device_ms=response.device_ms)
        return response

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        """See `InnerLLMClient.model`."""
        return await self._inner.model(timeout_s=timeout_s)

    async def aclose(self) -> None:
        """See `InnerLLMClient.aclose`."""
        await self._inner.aclose()
