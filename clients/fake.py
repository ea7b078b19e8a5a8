"""Clients without services, for tests of code that uses them: a function of yours says what they answer.

    client = FakeRewardClient(lambda image, item: len(item.answer or ""), kind="answer-reward")
    response = await client.score([Group(items=items)], timeout_s=1)
    assert [item.id for item in client.asked] == ["a", "b"]

A function that returns an `ErrorBody` fails its item; one that raises a `ClientError` fails the call.
"""

import asyncio
from collections.abc import Callable, Sequence

from align2llava.clients.api import InnerLLMClient, LoadImage, RewardClient
from align2llava.clients.wire.kinds import RewardKind, ServiceKind
from align2llava.clients.wire.schemas import (
    ErrorBody,
    Group,
    GroupRewards,
    Image,
    Item,
    ItemReward,
    LikelihoodItem,
    LikelihoodResponse,
    LikelihoodResult,
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


def fake_model(kind: ServiceKind) -> ModelIdentity:
    """Returns the identity of a model that is none."""
    return ModelIdentity(
        name="fake",
        kind=kind,
        identity=f"fake-{kind}",
        weights_sha256="0" * 64,
        dtype="float32",
    )


class FakeRewardClient(RewardClient):
    """A reward service of one function; `asked` are the items of all calls, in order."""

    def __init__(
        self, reward: Callable[[Image | None, Item], float | ErrorBody], *, kind: RewardKind
    ) -> None:
        self._reward = reward
        self._model = fake_model(kind)
        self._held: set[str] = set()
        self.asked: list[Item] = []

    async def score(
        self,
        groups: Sequence[Group],
        *,
        timeout_s: float,  # noqa: ARG002 - it answers at once
        load: LoadImage | None = None,
    ) -> ScoreResponse:
        """See `RewardClient.score`; an image that comes by its hash alone is loaded the first time."""
        for group in groups:
            self.asked += group.items
            image = group.image
            if image is not None and image.data is None and image.sha256 not in self._held:
                if load is not None:
                    await asyncio.to_thread(load, image.sha256)
                self._held.add(image.sha256)
        answers = tuple(
            GroupRewards(
                items=tuple(self._outcome(group.image, item) for item in group.items),
                usage=Usage(),
            )
            for group in groups
        )
        return ScoreResponse(model=self._model, groups=answers)

    def _outcome(self, image: Image | None, item: Item) -> ItemReward:
        outcome = self._reward(image, item)
        if isinstance(outcome, ErrorBody):
            return ItemReward(id=item.id, error=outcome)
        return ItemReward(id=item.id, reward=outcome)

    async def model(self, *, timeout_s: float) -> ModelIdentity:  # noqa: ARG002 - as above
        """Returns the identity of a model that is none."""
        return self._model

    async def aclose(self) -> None:
        """Does nothing."""


class FakeInnerLLMClient(InnerLLMClient):
    """An inner-llm service of up to three functions; `asked` are the items of all calls, in order."""

    def __init__(
        self,
        rewrite: Callable[[RewriteItem], Turn | ErrorBody],
        *,
        prefers: Callable[[ReviewItem], Verdict] = lambda _: Verdict.REWRITE,
        likelihood: Callable[[LikelihoodItem], float] = lambda _: 0.0,
    ) -> None:
        """`prefers` says which version is better in either order, `likelihood` the nats of a completion."""
        self._rewrite = rewrite
        self._prefers = prefers
        self._likelihood = likelihood
        self._model = fake_model("inner-llm")
        self.asked: list[RewriteItem | ReviewItem | LikelihoodItem] = []

    async def rewrite(
        self,
        items: Sequence[RewriteItem],
        *,
        timeout_s: float,  # noqa: ARG002 - it answers at once
    ) -> RewriteResponse:
        """See `InnerLLMClient.rewrite`."""
        self.asked += items
        return RewriteResponse(model=self._model, items=tuple(map(self._rewritten, items)))

    def _rewritten(self, item: RewriteItem) -> RewriteResult:
        outcome = self._rewrite(item)
        if isinstance(outcome, ErrorBody):
            return RewriteResult(id=item.id, error=outcome)
        return RewriteResult(id=item.id, rewritten=outcome, finish_reason="stop")

    async def review(
        self,
        items: Sequence[ReviewItem],
        *,
        timeout_s: float,  # noqa: ARG002 - as above
    ) -> ReviewResponse:
        """See `InnerLLMClient.review`."""
        self.asked += items
        return ReviewResponse(model=self._model, items=tuple(map(self._reviewed, items)))

    def _reviewed(self, item: ReviewItem) -> ReviewResult:
        verdict = self._prefers(item)
        return ReviewResult(
            id=item.id,
            reviewed=Reviewed(verdict=verdict, original_first=verdict, rewrite_first=verdict),
        )

    async def likelihood(
        self,
        items: Sequence[LikelihoodItem],
        *,
        timeout_s: float,  # noqa: ARG002 - as above
    ) -> LikelihoodResponse:
        """See `InnerLLMClient.likelihood`."""
        self.asked += items
        found = tuple(LikelihoodResult(id=item.id, nll=self._likelihood(item)) for item in items)
        return LikelihoodResponse(model=self._model, items=found)

    async def model(self, *, timeout_s: float) -> ModelIdentity:  # noqa: ARG002 - as above
        """Returns the identity of a model that is none."""
        return self._model

    async def aclose(self) -> None:
        """Does nothing."""
