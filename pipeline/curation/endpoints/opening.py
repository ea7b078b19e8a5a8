"""The services of a run: connected, asked who they are, closed at the end. Decides nothing else.

Several replicas of one service are one client here. If they serve different models, the model of most of them
counts, and the others are taken out of the pool, at the start and later.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from align2llava.clients.address import address_of
from align2llava.clients.api import Client, InnerLLMClient, RewardClient
from align2llava.clients.endpoint import Endpoint, EndpointFileError
from align2llava.clients.errors import ClientError
from align2llava.clients.pool.pool import Pool
from align2llava.clients.pool.pooled import PooledInnerLLMClient, PooledRewardClient
from align2llava.clients.pool.slots import Member
from align2llava.clients.retry import with_retries
from align2llava.clients.transport.connect import connect_inner_llm, connect_reward
from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.pipeline.config.schema import Config, EndpointConfig, RunConfig, proxy_for
from align2llava.pipeline.curation.endpoints.canaries import CanaryClient
from align2llava.pipeline.curation.endpoints.clear_text import warn_of_clear_text
from align2llava.pipeline.curation.endpoints.pace import (
    PacedInnerLLMClient,
    PacedRewardClient,
    Throughput,
)
from align2llava.pipeline.curation.store.events import ANSWERED, CANARIES_COMPARED, Notify
from align2llava.pipeline.errors import ConfigError, EndpointError

logger = logging.getLogger(__name__)

IDENTITY_TIMEOUT_S = 10.0


C = TypeVar("C", bound=Client)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardService:
    """A reward service in use: its client, its identity, and how it is to be asked."""

    name: str
    client: RewardClient
    model: ModelIdentity
    config: EndpointConfig
    max_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerLLMService:
    """The inner LLM in use; as `RewardService`."""

    name: str
    client: InnerLLMClient
    model: ModelIdentity
    config: EndpointConfig
    max_calls: int


class Connector(Protocol):
    """Opens the services of a config; tests put in clients without a network."""

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> RewardClient:
        """Returns a client of a reward service that makes one attempt a call."""
        ...

    def inner_llm(self, endpoint: Endpoint) -> InnerLLMClient:
        """Returns a client of the inner LLM that makes one attempt a call."""
        ...


class NetworkConnector:
    """Opens services over REST or gRPC, by the URL's scheme."""

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> RewardClient:
        """Returns a client of a reward service that makes one attempt a call."""
        return connect_reward(endpoint, kind=kind, retries=False)

    def inner_llm(self, endpoint: Endpoint) -> InnerLLMClient:
        """Returns a client of the inner LLM that makes one attempt a call."""
        return connect_inner_llm(endpoint, retries=False)


@asynccontextmanager
async def reward_service(
    config: EndpointConfig,
    *,
    kind: RewardKind,
    run: RunConfig,
    connector: Connector,
    api_key: str | None,
    notify: Notify,
) -> AsyncGenerator[RewardService]:
    """Opens a reward service that answered who it is; at the end its canaries are asked once more.

    Raises:
        EndpointError: it cannot be reached, refuses the key, its replicas agree on no model, or it
            drifted.
    """
    members = [
        Member(e.url, connector.reward(e, kind=kind), max_in_flight=config.max_in_flight)
        for e in _endpoints(config, api_key)
    ]
    async with _pool(members, kind=kind, wait_s=config.timeout_s, notify=notify) as pool:
        canaries = CanaryClient(PooledRewardClient(pool), service=kind, config=run, notify=notify)
        pace = Throughput(kind, notify=notify)
        yield RewardService(
            name=kind,
            client=PacedRewardClient(canaries, pace),
            model=pool.model,
            config=config,
            max_calls=config.max_in_flight * len(members),
        )
        pace.tell()
        await canaries.compare_last()


@asynccontextmanager
async def inner_llm_service(
    config: EndpointConfig, *, connector: Connector, api_key: str | None, notify: Notify
) -> AsyncGenerator[InnerLLMService]:
    """Opens the inner LLM; as `reward_service`."""
    members = [
        Member(e.url, connector.inner_llm(e), max_in_flight=config.max_in_flight)
        for e in _endpoints(config, api_key)
    ]
    async with _pool(members, kind="inner-llm", wait_s=config.timeout_s, notify=notify) as pool:
        pace = Throughput("inner-llm", notify=notify)
        yield InnerLLMService(
            name="inner-llm",
            client=PacedInnerLLMClient(PooledInnerLLMClient(pool), pace),
            model=pool.model,
            config=config,
            max_calls=config.max_in_flight * len(members),
        )
        pace.tell()


def _endpoints(config: EndpointConfig, api_key: str | None) -> tuple[Endpoint, ...]:
    """Returns the endpoints of the replicas; ConfigError where a certificate or proxy cannot be used."""
    return tuple(_endpoint(url, config, api_key) for url in config.urls())


def _endpoint(url: str, config: EndpointConfig, api_key: str | None) -> Endpoint:
    endpoint = Endpoint(
        url=url,
        api_key=api_key,
        ca_file=config.ca_file,
        cert_file=config.cert_file,
        key_file=config.key_file,
        proxy=proxy_for(address_of(url)),
    )
    try:
        endpoint.check_files()
    except EndpointFileError as error:
        raise ConfigError(f"endpoint {url}: {error}") from error
    return endpoint


@asynccontextmanager
async def _pool(
    members: Sequence[Member[C]], *, kind: str, wait_s: float, notify: Notify
) -> AsyncGenerator[Pool[C]]:
    def on_expelled(url: str, identity: str) -> None:
        notify("replica_expelled", service=kind, url=url, identity=identity)

    async with AsyncExitStack() as stack:
        for member in members:
            stack.push_async_callback(member.client.aclose)
        found = await _found(members, kind=kind, wait_s=wait_s)
        models = {
            member.url: one
            for member, one in zip(members, found, strict=True)
            if isinstance(one, ModelIdentity)
        }
        for member, one in zip(members, found, strict=True):
            if isinstance(one, ClientError):
                _check_tolerable(member.url, one, kind=kind, num_others=len(models))
                notify("replica_unreachable", service=kind, url=member.url, code=str(one.code))
        model = agreed_model(models, kind=kind)
        pool = Pool(members, model=model, on_expelled=on_expelled)
        stack.callback(pool.close)
        for member in members:
            if member.url in models:
                pool.admit(member, models[member.url])
        yield pool


class _LoadingError(Exception):
    """A service asks to come again: it is there, and will be ready."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(error.message)
        self.error = error


async def _found(
    members: Sequence[Member[C]], *, kind: str, wait_s: float
) -> list[ModelIdentity | ClientError]:
    """Returns who each is; where none is ready yet, those that still load get `wait_s`."""

    async def first(member: Member[C]) -> ModelIdentity | ClientError | _LoadingError:
        try:
            return await _asked(member, kind=kind, timeout_s=IDENTITY_TIMEOUT_S, is_patient=False)
        except _LoadingError as loading:
            return loading

    found = await asyncio.gather(*(first(member) for member in members))
    if any(isinstance(one, ModelIdentity) for one in found):
        return [one.error if isinstance(one, _LoadingError) else one for one in found]

    async def last(
        member: Member[C], one: ModelIdentity | ClientError | _LoadingError
    ) -> ModelIdentity | ClientError:
        if not isinstance(one, _LoadingError):
            return one
        logger.warning("%s at %s: %s; waiting up to %g s", kind, member.url, one, wait_s)
        return await _asked(member, kind=kind, timeout_s=wait_s, is_patient=True)

    return await asyncio.gather(*map(last, members, found))


async def _asked(
    member: Member[C], *, kind: str, timeout_s: float, is_patient: bool
) -> ModelIdentity | ClientError:
    async def ask(left_s: float) -> ModelIdentity:
        try:
            return await member.client.model(timeout_s=left_s)
        except ClientError as error:
            is_loading = error.code is Code.UNAVAILABLE and error.retry_after_s > 0
            if is_loading and not is_patient:
                raise _LoadingError(error) from error
            raise

    try:
        model = await with_retries(ask, timeout_s=timeout_s)
    except ClientError as error:
        return error
    if model.kind != kind:
        raise EndpointError(f"{member.url} is a {model.kind} service; {kind} is needed")
    return model


def _check_tolerable(url: str, error: ClientError, *, kind: str, num_others: int) -> None:
    """Raises for what is no passing trouble of one replica among others."""
    if error.code in (Code.UNAUTHENTICATED, Code.INVALID_REQUEST) or num_others == 0:
        refused = error.code is Code.UNAUTHENTICATED
        hint = "; the key is what A2L__API_KEY holds" if refused else ""
        raise EndpointError(f"{kind} at {url}: {error.code}: {error.message}{hint}") from error


def agreed_model(models: Mapping[str, ModelIdentity], *, kind: str) -> ModelIdentity:
    """Returns the model of more than half of the replicas that answered, given by URL.

    Raises:
        EndpointError: there is none.
    """
    votes = Counter(model.identity for model in models.values())
    identity, num_votes = votes.most_common(1)[0]
    if 2 * num_votes <= len(models):
        said = ", ".join(f"{url} is {model.identity}" for url, model in models.items())
        raise EndpointError(f"replicas of {kind} differ, and none has a majority: {said}")
    return next(model for model in models.values() if model.identity == identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services that the config's stages need; None = its stage is off."""

    question: RewardService | None
    answer: RewardService | None
    inner_llm: InnerLLMService | None

    def models(self) -> dict[str, ModelIdentity]:
        """Returns who answered, by the endpoint's name in the config."""
        named = {
            "question_reward": self.question,
            "answer_reward": self.answer,
            "inner_llm": self.inner_llm,
        }
        return {name: service.model for name, service in named.items() if service is not None}


async def open_services(
    stack: AsyncExitStack,
    config: Config,
    *,
    connector: Connector,
    api_key: str | None,
    notify: Notify,
) -> Services:
    """Opens the services that the stages which are on need; `stack` closes them.

    `notify` is told of replicas that cannot be reached or are put out of their pool, of canaries, and of
    how fast services answer.

    Raises:
        EndpointError: some cannot be reached, refuse the key, or are of the wrong kind; it tells of each.
    """
    services, failures = await open_each(
        stack, config, connector=connector, api_key=api_key, notify=notify
    )
    if failures:
        raise EndpointError("; ".join(map(str, failures.values())))
    return services


async def open_each(
    stack: AsyncExitStack,
    config: Config,
    *,
    connector: Connector,
    api_key: str | None,
    notify: Notify,
) -> tuple[Services, dict[str, EndpointError]]:
    """Opens what can be opened, as `open_services`; what cannot comes by the endpoint's name."""
    endpoints, selection = config.endpoints, config.selection
    wanted = endpoints.inner_llm if config.alignment.rewrite else None
    question = endpoints.question_reward if selection.question else None
    answer = endpoints.answer_reward if selection.answer else None
    warn_of_clear_text((question, answer, wanted), api_key=api_key)
    failures: dict[str, EndpointError] = {}

    async def reward(wanted: EndpointConfig | None, kind: RewardKind) -> RewardService | None:
        if wanted is None:
            return None
        opening = reward_service(
            wanted, kind=kind, run=config.run, connector=connector, api_key=api_key, notify=notify
        )
        try:
            return await stack.enter_async_context(opening)
        except EndpointError as error:
            failures[kind.replace("-", "_")] = error
            return None

    services = Services(
        question=await reward(question, "question-reward"),
        answer=await reward(answer, "answer-reward"),
        inner_llm=None,
    )
    try:
        inner_llm = await open_inner_llm(
            stack, wanted, connector=connector, api_key=api_key, notify=notify
        )
    except EndpointError as error:
        return services, {**failures, "inner_llm": error}
    return replace(services, inner_llm=inner_llm), failures


async def open_inner_llm(
    stack: AsyncExitStack,
    config: EndpointConfig | None,
    *,
    connector: Connector,
    api_key: str | None,
    notify: Notify,
) -> InnerLLMService | None:
    """Opens the inner LLM, None where it is not wanted; as `open_services`."""
    if config is None:
        return None
    service = inner_llm_service(config, connector=connector, api_key=api_key, notify=notify)
    return await stack.enter_async_context(service)


def log_event(event: str, **fields: object) -> None:
    """Logs an event where there is no run to keep it; what is told of every service, quietly."""
    level = logging.DEBUG if event in {ANSWERED, CANARIES_COMPARED} else logging.WARNING
    logger.log(level, "%s: %s", event, fields)
