"""The two clients over a pool of replicas: what they send, and which calls should take equally long."""

from collections.abc import Sequence

from clients.api import InnerLLMClient, LoadImage, RewardClient
from clients.concurrency import Shape
from clients.pool import Pool
from clients.wire.schemas import (
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


class PooledRewardClient:
    """A `RewardClient` over a pool of reward services."""

    def __init__(self, pool: Pool[RewardClient]) -> None:
        self._pool = pool

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        """See `RewardClient.score`."""

        async def send(client: RewardClient, left_s: float) -> ScoreResponse:
            return await client.score(groups, timeout_s=left_s, load=load)

        shape = _shape("score", sum(len(group.items) for group in groups))
        return await self._pool.call(send, shape=shape, timeout_s=timeout_s)

    async def model(self, *, timeout_s: float) -> ModelIdentity:  # noqa: ARG002 - the Protocol's
        """Returns the model of the pool."""
        return self._pool.model

    async def aclose(self) -> None:
        """Ends the pool; the replicas' clients are closed by who made them."""
        self._pool.close()


class PooledInnerLLMClient:
    """An `InnerLLMClient` over a pool of inner-llm services."""

    def __init__(self, pool: Pool[InnerLLMClient]) -> None:
        self._pool = pool

    async def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        """See `InnerLLMClient.rewrite`."""

        async def send(client: InnerLLMClient, left_s: float) -> RewriteResponse:
            return await client.rewrite(items, timeout_s=left_s)

        shape = _shape("rewrite", len(items))
        return await self._pool.call(send, shape=shape, timeout_s=timeout_s)

    async def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        """See `InnerLLMClient.review`."""

        async def send(client: InnerLLMClient, left_s: float) -> ReviewResponse:
            return await client.review(items, timeout_s=left_s)

        shape = _shape("review", len(items))
        return await self._pool.call(send, shape=shape, timeout_s=timeout_s)

    async def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        """See `InnerLLMClient.likelihood`."""

        async def send(client: InnerLLMClient, left_s: float) -> LikelihoodResponse:
            return await client.likelihood(items, timeout_s=left_s)

        shape = _shape("likelihood", len(items))
        return await self._pool.call(send, shape=shape, timeout_s=timeout_s)

    async def model(self, *, timeout_s: float) -> ModelIdentity:  # noqa: ARG002 - the Protocol's
        """Returns the model of the pool."""
        return self._pool.model

    async def aclose(self) -> None:
        """Ends the pool; the replicas' clients are closed by who made them."""
        self._pool.close()


def _shape(method: str, num_items: int) -> Shape:
    """Returns the shape of a call: the same for equal methods and about as many items."""
    return (method, num_items.bit_length())
