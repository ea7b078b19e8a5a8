"""The services of a run: connected, asked who they are, closed at the end. Decides nothing else.

Several replicas of one service are one client here: calls go round, and all must be one model.
"""

import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from clients.api import InnerLLMClient, RewardClient
from clients.connect import connect_inner_llm, connect_reward
from clients.endpoint import Endpoint
from clients.errors import ClientError
from clients.wire.schemas import ModelIdentity
from pipeline.config import Config, EndpointConfig
from pipeline.errors import EndpointError

IDENTITY_TIMEOUT_S = 10.0
RewardKind = Literal["question-reward", "answer-reward"]


class _Client(Protocol):
    async def model(self, *, timeout_s: float) -> ModelIdentity: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardService:
    """A reward service in use: its replicas, its identity and how it is to be asked."""

    name: str
    clients: tuple[RewardClient, ...]
    model: ModelIdentity
    config: EndpointConfig
    turns: "itertools.cycle[RewardClient]"

    def next_client(self) -> RewardClient:
        """Returns the replica whose turn it is."""
        return next(self.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerLLMService:
    """The inner LLM in use; as `RewardService`."""

    name: str
    clients: tuple[InnerLLMClient, ...]
    model: ModelIdentity
    config: EndpointConfig
    turns: "itertools.cycle[InnerLLMClient]"

    def next_client(self) -> InnerLLMClient:
        """Returns the replica whose turn it is."""
        return next(self.turns)


class Connector(Protocol):
    """Opens the services of a config; tests put in clients without a network."""

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> RewardClient:
        """Returns a client of a reward service."""
        ...

    def inner_llm(self, endpoint: Endpoint) -> InnerLLMClient:
        """Returns a client of the inner LLM."""
        ...


class NetworkConnector:
    """Opens services over REST or gRPC, by the URL's scheme."""

    def reward(self, endpoint: Endpoint, *, kind: RewardKind) -> RewardClient:
        """Returns a client of a reward service."""
        return connect_reward(endpoint, kind=kind)

    def inner_llm(self, endpoint: Endpoint) -> InnerLLMClient:
        """Returns a client of the inner LLM."""
        return connect_inner_llm(endpoint)


@asynccontextmanager
async def reward_service(
    config: EndpointConfig, *, kind: RewardKind, connector: Connector, api_key: str | None
) -> AsyncGenerator[RewardService]:
    """Opens a reward service that answered who it is.

    Raises:
        EndpointError: a replica cannot be reached, refuses the key, or is another model.
    """
    endpoints = _endpoints(config, api_key)
    clients = tuple(connector.reward(endpoint, kind=kind) for endpoint in endpoints)
    async with _closing(clients):
        yield RewardService(
            name=kind,
            clients=clients,
            model=await _identity(clients, endpoints, kind=kind),
            config=config,
            turns=itertools.cycle(clients),
        )


@asynccontextmanager
async def inner_llm_service(
    config: EndpointConfig, *, connector: Connector, api_key: str | None
) -> AsyncGenerator[InnerLLMService]:
    """Opens the inner LLM; as `reward_service`."""
    endpoints = _endpoints(config, api_key)
    clients = tuple(connector.inner_llm(endpoint) for endpoint in endpoints)
    async with _closing(clients):
        yield InnerLLMService(
            name="inner-llm",
            clients=clients,
            model=await _identity(clients, endpoints, kind="inner-llm"),
            config=config,
            turns=itertools.cycle(clients),
        )


def _endpoints(config: EndpointConfig, api_key: str | None) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(
            url=url,
            api_key=api_key,
            ca_file=config.ca_file,
            cert_file=config.cert_file,
            key_file=config.key_file,
        )
        for url in config.urls()
    )


@asynccontextmanager
async def _closing(clients: Sequence[_Client]) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        for client in clients:
            stack.push_async_callback(client.aclose)
        yield


async def _identity(
    clients: Sequence[_Client], endpoints: Sequence[Endpoint], *, kind: str
) -> ModelIdentity:
    models: list[ModelIdentity] = []
    for client, endpoint in zip(clients, endpoints, strict=True):
        try:
            model = await client.model(timeout_s=IDENTITY_TIMEOUT_S)
        except ClientError as error:
            raise EndpointError(
                f"{kind} at {endpoint.url}: {error.code}: {error.message}"
            ) from error
        if model.kind != kind:
            raise EndpointError(f"{endpoint.url} is a {model.kind} service; {kind} is needed")
        if models and model.identity != models[0].identity:
            raise EndpointError(
                f"replicas of {kind} differ: {models[0].identity} and, at {endpoint.url}, "
                f"{model.identity}"
            )
        models.append(model)
    return models[0]


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
    stack: AsyncExitStack, config: Config, *, connector: Connector, api_key: str | None
) -> Services:
    """Opens the services that the stages which are on need; `stack` closes them.

    Raises:
        EndpointError: one cannot be reached, refuses the key, or is of the wrong kind.
    """
    endpoints = config.endpoints

    async def reward(wanted: EndpointConfig | None, kind: RewardKind) -> RewardService | None:
        if wanted is None:
            return None
        service = reward_service(wanted, kind=kind, connector=connector, api_key=api_key)
        return await stack.enter_async_context(service)

    return Services(
        question=await reward(
            endpoints.question_reward if config.selection.question else None, "question-reward"
        ),
        answer=await reward(
            endpoints.answer_reward if config.selection.answer else None, "answer-reward"
        ),
        inner_llm=await open_inner_llm(
            stack,
            endpoints.inner_llm if config.alignment.rewrite else None,
            connector=connector,
            api_key=api_key,
        ),
    )


async def open_inner_llm(
    stack: AsyncExitStack,
    config: EndpointConfig | None,
    *,
    connector: Connector,
    api_key: str | None,
) -> InnerLLMService | None:
    """Opens the inner LLM, None where it is not wanted; as `open_services`."""
    if config is None:
        return None
    service = inner_llm_service(config, connector=connector, api_key=api_key)
    return await stack.enter_async_context(service)
