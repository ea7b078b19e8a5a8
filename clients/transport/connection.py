"""The two clients above their transport: a connection makes attempts, these check the answers."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

from align2llava.clients.api import InnerLLMClient, LoadImage, RewardClient
from align2llava.clients.errors import BadAnswerError
from align2llava.clients.images.known import KnownImages
from align2llava.clients.images.scoring import score_groups
from align2llava.clients.retry import with_retries
from align2llava.clients.wire.schemas import (
    Group,
    LikelihoodItem,
    LikelihoodRequest,
    LikelihoodResponse,
    Message,
    ModelIdentity,
    ReviewItem,
    ReviewRequest,
    ReviewResponse,
    RewriteItem,
    RewriteRequest,
    RewriteResponse,
    ScoreRequest,
    ScoreResponse,
)

S = TypeVar("S", bound=Message)


class Method(StrEnum):
    """The calls of the wire contract, by their gRPC names."""

    SCORE = "Score"
    REWRITE = "Rewrite"
    REVIEW = "Review"
    LIKELIHOOD = "Likelihood"
    GET_MODEL = "GetModel"


class Connection(Protocol):
    """One service over one transport."""

    async def attempt(
        self, method: Method, request: Message | None, schema: type[S], *, timeout_s: float
    ) -> S:
        """Returns the answer to one attempt, raises `ClientError`; GET_MODEL has no request."""
        ...

    async def aclose(self) -> None:
        """Closes the connections."""
        ...


class Retrying:
    """A connection that retries by the code table within the time of a call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def attempt(
        self, method: Method, request: Message | None, schema: type[S], *, timeout_s: float
    ) -> S:
        """Returns the first answer, raises the last `ClientError`."""
        return await with_retries(
            lambda left_s: self._connection.attempt(method, request, schema, timeout_s=left_s),
            timeout_s=timeout_s,
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._connection.aclose()


class ConnectedRewardClient(RewardClient):
    """A `RewardClient` over any connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known = KnownImages()

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        """See `RewardClient.score`; each of the sends it takes has `timeout_s`."""

        async def send(some: tuple[Group, ...]) -> ScoreResponse:
            request = ScoreRequest(groups=some)
            return await self._connection.attempt(
                Method.SCORE, request, ScoreResponse, timeout_s=timeout_s
            )

        return await score_groups(send, groups, known=self._known, load=load)

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        """See `RewardClient.model`."""
        return await self._connection.attempt(
            Method.GET_MODEL, None, ModelIdentity, timeout_s=timeout_s
        )

    async def aclose(self) -> None:
        """See `RewardClient.aclose`."""
        await self._connection.aclose()


class ConnectedInnerLLMClient(InnerLLMClient):
    """An `InnerLLMClient` over any connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        """See `InnerLLMClient.rewrite`."""
        request = RewriteRequest(items=tuple(items))
        response = await self._connection.attempt(
            Method.REWRITE, request, RewriteResponse, timeout_s=timeout_s
        )
        _check_ids([item.id for item in items], [item.id for item in response.items])
        return response

    async def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        """See `InnerLLMClient.review`."""
        request = ReviewRequest(items=tuple(items))
        response = await self._connection.attempt(
            Method.REVIEW, request, ReviewResponse, timeout_s=timeout_s
        )
        _check_ids([item.id for item in items], [item.id for item in response.items])
        return response

    async def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        """See `InnerLLMClient.likelihood`."""
        request = LikelihoodRequest(items=tuple(items))
        response = await self._connection.attempt(
            Method.LIKELIHOOD, request, LikelihoodResponse, timeout_s=timeout_s
        )
        _check_ids([item.id for item in items], [item.id for item in response.items])
        return response

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        """See `InnerLLMClient.model`."""
        return await self._connection.attempt(
            Method.GET_MODEL, None, ModelIdentity, timeout_s=timeout_s
        )

    async def aclose(self) -> None:
        """See `InnerLLMClient.aclose`."""
        await self._connection.aclose()


def _check_ids(asked: list[str], answered: list[str]) -> None:
    if asked != answered:
        raise BadAnswerError(
            f"asked for {len(asked)} items; the answer has {len(answered)}, or other ids"
        )
