"""The scheme of a URL decides the client."""

import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.transport.connect import connect_inner_llm, connect_reward
from align2llava.clients.transport.rest import RestInnerLLMClient, RestRewardClient
from align2llava.clients.transport.rpc import GrpcInnerLLMClient, GrpcRewardClient


@pytest.mark.parametrize(
    ("url", "reward", "inner"),
    [
        ("http://h:1", RestRewardClient, RestInnerLLMClient),
        ("https://h:1", RestRewardClient, RestInnerLLMClient),
        ("grpc://h:1", GrpcRewardClient, GrpcInnerLLMClient),
        ("grpcs://h:1", GrpcRewardClient, GrpcInnerLLMClient),
        ("dns:///h:1", GrpcRewardClient, GrpcInnerLLMClient),
    ],
)
async def test_scheme_decides(url: str, reward: type, inner: type):
    clients = [
        connect_reward(Endpoint(url=url), kind="answer-reward"),
        connect_inner_llm(Endpoint(url=url)),
    ]
    assert [type(client) for client in clients] == [reward, inner]
    for client in clients:
        await client.aclose()


def test_other_schemes_are_refused():
    with pytest.raises(ValueError, match="ftp://h"):
        connect_inner_llm(Endpoint(url="ftp://h"))
