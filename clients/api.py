"""What a client can do, whatever its transport: two Protocols, each with a REST and a gRPC class."""

from collections.abc import Callable, Sequence
from typing import Protocol, Self

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

LoadImage = Callable[[str], bytes]  # sha256 in hex -> the encoded image; may block


class Client(Protocol):
    """What both clients do. Who inherits this is closed at the end of an `async with`."""

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        """Returns which model answers."""
        ...

    async def aclose(self) -> None:
        """Closes the connections; calls still in flight fail."""
        ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class RewardClient(Client, Protocol):
    """Asks one reward service.

    Every call retries by the code table until `timeout_s` is spent, then raises a `ClientError`
    of `clients.errors`. Errors of single items are part of a response and are not raised.
    """

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        """Returns one reward or error for each item, in order.

        Give each image with its data, or by its hash alone with `load`, which is called in a thread
        and only for images that the service does not hold yet; what it raises comes out unchanged.
        The bytes are sent only where the service does not hold the hash.
        """
        ...


class InnerLLMClient(Client, Protocol):
    """Asks the inner-llm service; retries and errors as in `RewardClient`."""

    async def rewrite(self, items: Sequence[RewriteItem], *, timeout_s: float) -> RewriteResponse:
        """Returns one rewrite, unparsed completion or error for each item, in order."""
        ...

    async def review(self, items: Sequence[ReviewItem], *, timeout_s: float) -> ReviewResponse:
        """Returns one verdict, taken in both orders, or error for each item, in order."""
        ...

    async def likelihood(
        self, items: Sequence[LikelihoodItem], *, timeout_s: float
    ) -> LikelihoodResponse:
        """Returns the negative log-likelihood, in nats, or an error for each item, in order."""
        ...
