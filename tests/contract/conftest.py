"""The contract suite runs every case over REST and over gRPC, against real service processes."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from align2llava.clients.api import InnerLLMClient, RewardClient
from tests.contract.servers import Server, Transport, server


@pytest.fixture(params=["rest", "grpc"])
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param


@pytest.fixture(scope="session")
def question_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server("question-reward", tmp_path_factory.mktemp("question")) as running:
        yield running


@pytest.fixture(scope="session")
def answer_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server("answer-reward", tmp_path_factory.mktemp("answer")) as running:
        yield running


@pytest.fixture(scope="session")
def inner_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server("inner-llm", tmp_path_factory.mktemp("inner")) as running:
        yield running


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Question rewards with a key, room for 8 items, and bodies of 200 kB at most."""
    folder: Path = tmp_path_factory.mktemp("strict")
    keys = folder / "keys"
    keys.write_text("# ours\nsecret-key\n")
    settings = {
        "A2L_API_KEYS_FILE": str(keys),
        "A2L_MAX_QUEUE_ITEMS": "8",
        "A2L_MAX_REQUEST_ITEMS": "8",
        "A2L_MAX_BODY_BYTES": "200000",
        "A2L_MAX_IMAGE_BYTES": "100000",
        "A2L_MAX_PIXELS": "10000",
        "A2L_MAX_TEXT_CHARS": "1000",
    }
    with server("question-reward", folder, settings=settings) as running:
        yield running


@pytest.fixture
async def questions(question_server: Server, transport: Transport) -> AsyncIterator[RewardClient]:
    client = question_server.reward_client(transport)
    yield client
    await client.aclose()


@pytest.fixture
async def answers(answer_server: Server, transport: Transport) -> AsyncIterator[RewardClient]:
    client = answer_server.reward_client(transport)
    yield client
    await client.aclose()


@pytest.fixture
async def strict(strict_server: Server, transport: Transport) -> AsyncIterator[RewardClient]:
    client = strict_server.reward_client(transport, api_key="secret-key")
    yield client
    await client.aclose()


@pytest.fixture
async def inner(inner_server: Server, transport: Transport) -> AsyncIterator[InnerLLMClient]:
    client = inner_server.inner_client(transport)
    yield client
    await client.aclose()
