from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from clients.errors import UnauthenticatedError
from clients.wire.schemas import ModelIdentity
from pipeline.config import Config, load_config
from pipeline.curation.endpoints import Services, open_services
from pipeline.errors import EndpointError
from tests.pipeline.curation.fake_clients import Calls, FakeConnector, FakeReward, identity
from tests.pipeline.curation.small_world import write_world


class NamedConnector(FakeConnector):
    """The identity of each reward service is decided by its URL; `answers` maps URL -> identity."""

    def __init__(self, answers: dict[str, ModelIdentity | Exception]) -> None:
        super().__init__()
        self.answers = answers
        self.closed: Counter[str] = Counter()

    def reward(self, endpoint, *, kind):
        outer = self

        class Named(FakeReward):
            async def model(self, *, timeout_s: float) -> ModelIdentity:
                answer = outer.answers.get(endpoint.url, identity(kind))
                if isinstance(answer, Exception):
                    raise answer
                return answer

            async def aclose(self) -> None:
                outer.closed[endpoint.url] += 1

        self.endpoints.append(endpoint)
        return Named(identity(kind), Calls())


def config(tmp_path: Path, *sets: str) -> Config:
    return load_config(write_world(tmp_path, []), sets=sets)


async def opened(found: Config, connector: FakeConnector) -> Services:
    async with AsyncExitStack() as stack:
        return await open_services(stack, found, connector=connector, api_key="sesame")


async def test_replicas_take_turns_and_all_are_closed(tmp_path: Path):
    connector = NamedConnector({})
    sets = 'endpoints.question_reward.url=["grpc://a:1", "http://b:2"]'
    async with AsyncExitStack() as stack:
        services = await open_services(
            stack, config(tmp_path, sets), connector=connector, api_key="sesame"
        )
        assert services.question is not None
        first, second, third = (services.question.next_client() for _ in range(3))
        assert first is third
        assert first is not second
        assert not connector.closed
    assert connector.closed == {"grpc://a:1": 1, "http://b:2": 1, "grpc://nowhere:2": 1}
    assert all(endpoint.api_key == "sesame" for endpoint in connector.endpoints)


async def test_replicas_of_different_models_are_refused(tmp_path: Path):
    connector = NamedConnector({"grpc://b:2": identity("question-reward", "b")})
    sets = 'endpoints.question_reward.url=["grpc://a:1", "grpc://b:2"]'
    with pytest.raises(EndpointError, match=r"differ: question-reward-a and, at grpc://b:2"):
        await opened(config(tmp_path, sets), connector)
    assert connector.closed == {"grpc://a:1": 1, "grpc://b:2": 1}


async def test_service_of_the_wrong_kind_is_refused(tmp_path: Path):
    connector = NamedConnector({"grpc://nowhere:1": identity("answer-reward")})
    with pytest.raises(EndpointError, match="question-reward is needed"):
        await opened(config(tmp_path), connector)


async def test_refused_key_is_an_endpoint_error(tmp_path: Path):
    connector = NamedConnector({"grpc://nowhere:2": UnauthenticatedError("no such key")})
    with pytest.raises(EndpointError, match="grpc://nowhere:2: unauthenticated: no such key"):
        await opened(config(tmp_path), connector)


async def test_only_what_a_stage_needs_is_opened(tmp_path: Path):
    connector = FakeConnector()
    services = await opened(
        config(tmp_path, "selection.answer=off", "alignment.rewrite=off"), connector
    )
    assert set(services.models()) == {"question_reward"}
    assert [endpoint.url for endpoint in connector.endpoints] == ["grpc://nowhere:1"]
