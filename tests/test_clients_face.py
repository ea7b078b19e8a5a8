"""The public face: what stands in it, and that looking at it costs nothing."""

import subprocess
import sys

import pytest

from align2llava import clients
from align2llava.clients.transport.connection import ConnectedInnerLLMClient, ConnectedRewardClient

FACE = [
    "ClientError",
    "Endpoint",
    "Group",
    "Image",
    "InnerLLMClient",
    "Item",
    "LikelihoodItem",
    "ReviewItem",
    "RewardClient",
    "RewriteItem",
    "Turn",
    "blocking_inner_llm",
    "blocking_reward",
    "connect_inner_llm",
    "connect_reward",
]


def test_face_is_this_and_every_name_of_it_is_there():
    assert clients.__all__ == FACE
    assert all(getattr(clients, name).__name__ == name for name in FACE)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = clients.Nothing


def test_looking_at_it_imports_neither_transport_nor_pydantic():
    heavy = {"grpc", "httpx", "pydantic"}
    code = f"import align2llava.clients, sys; assert not {heavy!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


class Recorded:
    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("client_of", [ConnectedRewardClient, ConnectedInnerLLMClient])
async def test_client_is_closed_at_the_end_of_async_with_whatever_happens(client_of):
    connection = Recorded()

    async def failing() -> None:
        async with client_of(connection):
            assert not connection.is_closed
            raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        await failing()
    assert connection.is_closed
