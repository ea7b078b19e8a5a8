from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from align2llava.clients.errors import DeadlineError, UnauthenticatedError, UnavailableError
from align2llava.clients.wire.schemas import Group, Image, Item, ModelIdentity, ScoreResponse
from align2llava.pipeline.config.schema import Config, load_config
from align2llava.pipeline.curation.endpoints.opening import (
    RewardService,
    Services,
    log_event,
    open_services,
)
from align2llava.pipeline.curation.store.events import Notify
from align2llava.pipeline.errors import EndpointError
from tests.pipeline.curation.fake_clients import Calls, FakeConnector, FakeReward, identity
from tests.pipeline.curation.small_world import write_world


class NamedConnector(FakeConnector):
    """The identity of each reward service is decided by its URL; `answers` maps URL -> identity."""

    def __init__(self, answers: dict[str, ModelIdentity | Exception]) -> None:
        super().__init__()
        self.answers = answers
        self.closed: Counter[str] = Counter()
        self.calls_by_url: defaultdict[str, Calls] = defaultdict(Calls)

    def reward(self, endpoint, *, kind):
        outer = self

        class Named(FakeReward):
            async def score(self, groups, *, timeout_s: float, load=None) -> ScoreResponse:
                self._calls = outer.calls_by_url[endpoint.url]
                return await super().score(groups, timeout_s=timeout_s, load=load)

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
        return await open_services(
            stack, found, connector=connector, api_key="sesame", notify=log_event
        )


REPLICAS = 'endpoints.question_reward.url=["grpc://a:1", "http://b:2", "grpc://c:3"]'
GROUP = Group(image=Image(sha256="0" * 64, data=b"x"), items=(Item(id="a", questions=("What?",)),))


class LoadingConnector(FakeConnector):
    """A service that asks to come again `num_refusals` times, then is ready."""

    def __init__(self, num_refusals: int, *, retry_after_s: float) -> None:
        super().__init__()
        self.num_refusals = num_refusals
        self.retry_after_s = retry_after_s

    def reward(self, endpoint, *, kind):
        outer = self

        class Loading(FakeReward):
            async def model(self, *, timeout_s: float) -> ModelIdentity:
                outer.num_refusals -= 1
                if outer.num_refusals >= 0:
                    message = "the service is not ready: loading"
                    raise UnavailableError(message, retry_after_s=outer.retry_after_s)
                return identity(kind)

        return Loading(identity(kind), Calls())


class Events:
    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.seen.append({"event": event, **fields})

    def named(self, event: str) -> list[dict[str, object]]:
        return [one for one in self.seen if one["event"] == event]


@asynccontextmanager
async def question_service(
    tmp_path: Path, connector: FakeConnector, notify: Notify
) -> AsyncIterator[RewardService]:
    async with AsyncExitStack() as stack:
        services = await open_services(
            stack,
            config(tmp_path, REPLICAS),
            connector=connector,
            api_key="sesame",
            notify=notify,
        )
        assert services.question is not None
        yield services.question


async def test_replicas_are_one_client_and_all_are_closed(tmp_path: Path):
    connector, events = NamedConnector({}), Events()
    async with question_service(tmp_path, connector, events) as service:
        for _ in range(6):
            await service.client.score([GROUP], timeout_s=5)
        assert service.max_calls == 3 * service.config.max_in_flight
        assert {len(calls.asked) for calls in connector.calls_by_url.values()} == {2}
        assert not connector.closed
    urls = ("grpc://a:1", "http://b:2", "grpc://c:3", "grpc://nowhere:2")
    assert connector.closed == dict.fromkeys(urls, 1)
    assert all(endpoint.api_key == "sesame" for endpoint in connector.endpoints)
    assert not events.named("replica_expelled") + events.named("replica_unreachable")


async def test_noise_and_pace_of_a_service_are_told_when_it_is_closed(tmp_path: Path):
    events = Events()
    async with question_service(tmp_path, NamedConnector({}), events) as service:
        await service.client.score([GROUP], timeout_s=5)
        assert not events.seen
    answered, compared = events.seen
    assert (answered["event"], answered["service"]) == ("answered", "question-reward")
    assert (answered["num_items"], answered["num_calls"]) == (1, 1)
    assert (compared["event"], compared["num_compared"]) == ("canaries_compared", 1)
    assert compared["num_moved"] == 0


async def test_service_that_was_asked_nothing_has_no_noise_and_no_pace(tmp_path: Path):
    events = Events()
    async with question_service(tmp_path, NamedConnector({}), events):
        pass
    assert not events.seen


async def test_replicas_without_a_majority_are_refused(tmp_path: Path):
    connector = NamedConnector({"grpc://b:2": identity("question-reward", "b")})
    sets = 'endpoints.question_reward.url=["grpc://a:1", "grpc://b:2"]'
    with pytest.raises(EndpointError, match=r"a:1 is question-reward-a, grpc://b:2 is .*-b"):
        await opened(config(tmp_path, sets), connector)
    # The others were opened all the same: each service that fails is told of.
    assert connector.closed == {"grpc://a:1": 1, "grpc://b:2": 1, "grpc://nowhere:2": 1}


async def test_one_replica_of_another_model_is_not_asked(tmp_path: Path):
    connector = NamedConnector({"grpc://a:1": identity("question-reward", "b")})
    events = Events()
    async with question_service(tmp_path, connector, events) as service:
        assert service.model == identity("question-reward")
        for _ in range(6):
            await service.client.score([GROUP], timeout_s=5)
    assert "grpc://a:1" not in connector.calls_by_url
    assert events.named("replica_expelled") == [
        {
            "event": "replica_expelled",
            "service": "question-reward",
            "url": "grpc://a:1",
            "identity": "question-reward-b",
        }
    ]


async def test_one_replica_that_is_away_at_the_start_is_tolerated(tmp_path: Path):
    connector = NamedConnector({"grpc://c:3": DeadlineError("still loading")})
    events = Events()
    async with question_service(tmp_path, connector, events):
        assert [(one["event"], one["url"], one["code"]) for one in events.seen] == [
            ("replica_unreachable", "grpc://c:3", "deadline_exceeded")
        ]


async def test_service_that_still_loads_is_waited_for_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    found = await opened(config(tmp_path), LoadingConnector(2, retry_after_s=0.01))
    assert found.question is not None
    assert "loading; waiting up to 120 s" in caplog.text
    assert "question-reward at grpc://nowhere:1" in caplog.text


async def test_service_that_loads_for_longer_than_its_time_is_an_endpoint_error(tmp_path: Path):
    services = ("question_reward", "answer_reward", "inner_llm")
    found = config(tmp_path, *(f"endpoints.{service}.timeout_s=0.2" for service in services))
    with pytest.raises(EndpointError, match="not ready: loading"):
        await opened(found, LoadingConnector(10**6, retry_after_s=0.01))


async def test_one_replica_that_still_loads_is_not_waited_for(tmp_path: Path):
    loading = UnavailableError("the service is not ready: loading", retry_after_s=1.0)
    events = Events()
    async with question_service(tmp_path, NamedConnector({"grpc://c:3": loading}), events):
        assert events.seen[0]["code"] == "unavailable"


async def test_one_replica_that_refuses_the_key_is_not_tolerated(tmp_path: Path):
    connector = NamedConnector({"grpc://c:3": UnauthenticatedError("no such key")})
    with pytest.raises(EndpointError, match="grpc://c:3: unauthenticated"):
        await opened(config(tmp_path, REPLICAS), connector)


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
