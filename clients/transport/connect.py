"""From an endpoint to a client: the URL's scheme decides the transport."""

from align2llava.clients.api import InnerLLMClient, RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.wire.kinds import RewardKind


def connect_reward(
    endpoint: Endpoint,
    *,
    kind: RewardKind,
    retries: bool = True,
) -> RewardClient:
    """Returns a client of a reward service; nothing is sent yet. Needs a running event loop.

    `retries` False = it makes one attempt, for a pool that retries.

    Raises:
        ValueError: the URL is none of a service, or a file of its certificates cannot be used.
    """
    if endpoint.address().is_rest:
        from align2llava.clients.transport.rest import RestRewardClient  # noqa: PLC0415 - httpx only where it is used

        return RestRewardClient(endpoint, retries=retries)
    from align2llava.clients.transport.rpc import GrpcRewardClient  # noqa: PLC0415 - gRPC only where it is used

    return GrpcRewardClient(endpoint, kind=kind, retries=retries)


def connect_inner_llm(endpoint: Endpoint, *, retries: bool = True) -> InnerLLMClient:
    """Returns a client of the inner-llm service; as `connect_reward`."""
    if endpoint.address().is_rest:
        from align2llava.clients.transport.rest import RestInnerLLMClient  # noqa: PLC0415 - as above

        return RestInnerLLMClient(endpoint, retries=retries)
    from align2llava.clients.transport.rpc import GrpcInnerLLMClient  # noqa: PLC0415 - as above

    return GrpcInnerLLMClient(endpoint, retries=retries)
