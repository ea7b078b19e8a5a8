"""Typed clients of the three services, over REST and gRPC.

    async with connect_reward(Endpoint(url="http://127.0.0.1:3001"), kind="question-reward") as client:
        response = await client.score([Group(image=image, items=items)], timeout_s=30)

`blocking_reward` and `blocking_inner_llm` are the same for code without an event loop.
`__all__` is the public face. A name is imported when it is first asked for: gRPC, HTTP and pydantic take up to half a
second each, and services come here for `clients.wire` alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if __name__ != "align2llava.clients":  # two names would be two sets of classes
    raise ImportError(
        "import align2llava.clients: clients alone is a folder of the repository, no package"
    )

if TYPE_CHECKING:
    from align2llava.clients.api import InnerLLMClient, RewardClient
    from align2llava.clients.blocking import blocking_inner_llm, blocking_reward
    from align2llava.clients.endpoint import Endpoint
    from align2llava.clients.errors import ClientError
    from align2llava.clients.transport.connect import connect_inner_llm, connect_reward
    from align2llava.clients.wire.schemas import (
        Group,
        Image,
        Item,
        LikelihoodItem,
        ReviewItem,
        RewriteItem,
        Turn,
    )

__all__ = [
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

_HOMES = {
    "ClientError": "errors",
    "Endpoint": "endpoint",
    "InnerLLMClient": "api",
    "RewardClient": "api",
    "blocking_inner_llm": "blocking",
    "blocking_reward": "blocking",
    "connect_inner_llm": "transport.connect",
    "connect_reward": "transport.connect",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'wire.schemas')}"), name)
