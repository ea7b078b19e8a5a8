"""The two clients over a pool of replicas: how a call is sent to one replica, and which calls hedging may compare."""

from collections.abc import Sequence

from align2llava.clients.api import InnerLLMClient, LoadImage, RewardClient
from align2llava.clients.errors import BadAnswerError, ClientError
from align2llava.clients.images.answers import (
    Part,
    everything,
    has_no_reward,
    merged,
    part_of,
    refused,
)
from align2llava.clients.pool.limit import Shape
from align2llava.clients.pool.pool import Pool
from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.schemas import (
    Group,
    LikelihoodItem,
    LikelihoodResponse,
    LikelihoodResult,
    ModelIdentity,
    ReviewItem,
    ReviewResponse,
    ReviewResult,
    RewriteItem,
    RewriteResponse,
    RewriteResult,
    ScoreResponse,
)


class PooledRewardClient(RewardClient):
    """A `RewardClient` over a pool of reward services."""

    def __init__(self, pool: Pool[RewardClient]) -> None:
        self._pool = pool

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        """See `RewardClient.score`; no attempt asks for what one before was answered."""
        scoring = _Scoring(groups, load=load, identity=self._pool.model.identity)
        shape = _shape("score", sum(len(group.items) for group in groups))
        try:
            return await self._pool.call(scoring.send, shape=shape, timeout_s=timeout_s)
        except ClientError as error:
            raise error.with_partial(scoring.partial) from error

    async def model(self, *, timeout_s: float) -> ModelIdentity:  # noqa: ARG002 - the Protocol's
        """Returns the model of the pool."""
        return self._pool.model

    async def aclose(self) -> None:
        """Ends the pool; the replicas' clients are closed by who made them."""
        self._pool.close()


class _Scoring:
    """One call for rewards, over all its attempts."""

    def __init__(self, groups: Sequence[Group], *, load: LoadImage | None, identity: str) -> None:
        self._groups = groups
        self._load = load
        self._identity = identity
        self.partial: ScoreResponse | None = None

    async def send(self, client: RewardClient, left_s: float) -> ScoreResponse:
        """Asks a replica for what none has answered yet, and returns all outcomes.

        An answer that refuses items for now is an error of the call, so that they are asked for again.
        """
        before = self.partial
        if before is None:
            part = everything(self._groups)
        else:
            part = part_of(self._groups, before.groups, has_no_reward)
            if not part.groups:
                return before
        try:
            response = await client.score(part.groups, timeout_s=left_s, load=self._load)
        except ClientError as error:
            # Nothing is believed of another model than the pool's.
            if error.partial is not None and error.partial.model.identity == self._identity:
                self.partial = _put_in(self.partial, part, error.partial)
            raise
        whole = _put_in(before, part, response)
        refusal = self._refusal(whole)
        if refusal is None or response.model.identity != self._identity:
            return whole
        self.partial = whole
        raise refusal

    def _refusal(self, response: ScoreResponse) -> ClientError | None:
        errors = [item.error for group in response.groups for item in group.items]
        needed = [e for e in errors if e is not None and e.code == Code.IMAGE_NEEDED]
        if needed and self._load is not None:
            return BadAnswerError(f"an image was sent, and is asked for again: {needed[0].message}")
        return refused(errors)


def _put_in(before: ScoreResponse | None, part: Part, response: ScoreResponse) -> ScoreResponse:
    if before is None:  # the part is everything
        return response
    groups = merged(before.groups, part, response.groups)
    return ScoreResponse(model=response.model, groups=groups)


class PooledInnerLLMClient(InnerLLMClient):
    """An `InnerLLMClient` over a pool of inner-llm services."""

    def __init__(self, pool: Pool[InnerLLMClient]) -> None:
        self._pool = pool

    async def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        """See `InnerLLMClient.rewrite`."""

        async def send(client: InnerLLMClient, left_s: float) -> RewriteResponse:
            response = await client.rewrite(items, timeout_s=left_s)
            _raise_if_refused(response.items)
            return response

        shape = _shape("rewrite", len(items))
        return await self._pool.call(send, shape=shape, timeout_s=timeout_s)

    async def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        """See `InnerLLMClient.review`."""

        async def send(client: InnerLLMClient, left_s: float) -> ReviewResponse:
            response = await client.review(items, timeout_s=left_s)
            _raise_if_refused(response.items)
            return response

        shape = _shape("review", len(items))
        return await self._pool.call(send, shape=shape, timeout_s=timeout_s)

    async def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        """See `InnerLLMClient.likelihood`."""

        async def send(client: InnerLLMClient, left_s: float) -> LikelihoodResponse:
            response = await client.likelihood(items, timeout_s=left_s)
            _raise_if_refused(response.items)
            return response

        shape = _shape("likelihood", len(items))
        return await self._pool.call(send, shape=shape, timeout_s=timeout_s)

    async def model(self, *, timeout_s: float) -> ModelIdentity:  # noqa: ARG002 - the Protocol's
        """Returns the model of the pool."""
        return self._pool.model

    async def aclose(self) -> None:
        """Ends the pool; the replicas' clients are closed by who made them."""
        self._pool.close()


def _raise_if_refused(
    items: Sequence[RewriteResult] | Sequence[ReviewResult] | Sequence[LikelihoodResult],
) -> None:
    """Raises where all items are refused for now; of some the others' outcomes are worth more than theirs."""
    refusal = refused(item.error for item in items)
    if refusal is not None and all(item.error is not None for item in items):
        raise refusal


def _shape(method: str, num_items: int) -> Shape:
    """Returns the shape of a call: the same for equal methods and about as many items."""
    return (method, num_items.bit_length())
