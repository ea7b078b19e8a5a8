"""Clients for code that has no event loop, or another's: scripts and notebooks.

    with blocking_reward(Endpoint(url="http://127.0.0.1:3001"), kind="question-reward") as client:
        response = client.score([Group(image=Image(data=data), items=items)], timeout_s=30)

The calls run on an event loop in a thread of its own and raise what the async ones raise; several threads may share a
client.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial

from anyio.from_thread import BlockingPortal, start_blocking_portal

from align2llava.clients.api import InnerLLMClient, LoadImage, RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.transport.connect import connect_inner_llm, connect_reward
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


class BlockingRewardClient:
    """A `RewardClient` whose calls return when they are answered."""

    def __init__(self, client: RewardClient, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal

    def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        """See `RewardClient.score`."""
        return self._portal.call(
            partial(self._client.score, groups, timeout_s=timeout_s, load=load)
        )

    def model(self, *, timeout_s: float) -> ModelIdentity:
        """See `RewardClient.model`."""
        return self._portal.call(partial(self._client.model, timeout_s=timeout_s))


class BlockingInnerLLMClient:
    """An `InnerLLMClient` whose calls return when they are answered."""

    def __init__(self, client: InnerLLMClient, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal

    def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        """See `InnerLLMClient.rewrite`."""
        return self._portal.call(partial(self._client.rewrite, items, timeout_s=timeout_s))

    def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        """See `InnerLLMClient.review`."""
        return self._portal.call(partial(self._client.review, items, timeout_s=timeout_s))

    def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        """See `InnerLLMClient.likelihood`."""
        return self._portal.call(partial(self._client.likelihood, items, timeout_s=timeout_s))

    def model(self, *, timeout_s: float) -> ModelIdentity:
        """See `InnerLLMClient.model`."""
        return self._portal.call(partial(self._client.model, timeout_s=timeout_s))


@contextmanager
def blocking_reward(endpoint: Endpoint, *, kind: RewardKind) -> Generator[BlockingRewardClient]:
    """A client of a reward service; closed at the end.

    Raises:
        ValueError: as `connect_reward`.
    """
    with start_blocking_portal() as portal:
        client = portal.call(partial(connect_reward, endpoint, kind=kind))
        with portal.wrap_async_context_manager(client):
            yield BlockingRewardClient(client, portal)


@contextmanager
def blocking_inner_llm(endpoint: Endpoint) -> Generator[BlockingInnerLLMClient]:
    """A client of the inner-llm service; closed at the end."""
    with start_blocking_portal() as portal:
        client = portal.call(connect_inner_llm, endpoint)
        with portal.wrap_async_context_manager(client):
            yield BlockingInnerLLMClient(client, portal)
