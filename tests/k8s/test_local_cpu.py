"""The Deployments of local-cpu, run here as their manifests say: ready, scored, drained within their grace.

preStop's sleep is counted and not slept: nobody routes to a process of this test.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from align2llava.clients.api import InnerLLMClient, RewardClient
from align2llava.clients.errors import UnauthenticatedError
from align2llava.clients.transport.connect import connect_inner_llm, connect_reward
from align2llava.clients.wire.kinds import ServiceKind
from align2llava.clients.wire.schemas import Group, RewriteItem
from tests.contract.servers import ROOT, Server, Transport, until_received
from tests.contract.wire_values import answer_item, question_group, square
from tests.k8s.folders import overlay
from tests.k8s.local_pod import Container, container_of, running, runtime_log, write_bento_source

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KEY = "not-a-secret"
NUM_CALLERS = 4  # over each transport
NUM_ITEMS = 48  # of one request
MODELS = ROOT / "examples" / "blocks" / "models"


@contextmanager
def deployed(kind: ServiceKind, tmp_path: Path) -> Iterator[tuple[Container, Server, Path]]:
    manifests = overlay("local-cpu")
    (pod,) = [pod for pod in manifests.service_pods if pod.name == kind]
    container = container_of(manifests, pod, tmp_path, given={"/models": MODELS})
    source = write_bento_source(tmp_path)
    with running(container, folder=source) as process:
        server = Server(
            kind=kind,
            http_port=container.ports["http"],
            grpc_port=container.ports["grpc"],
            process=process,
            log=tmp_path / "log",
        )
        yield container, server, source


def status(url: str) -> int:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code
    except httpx.TransportError:
        return 0


async def until_probe(container: Container, name: str, *, within_s: float) -> None:
    end = time.monotonic() + within_s
    while status(container.probe(name)) != 200:
        assert time.monotonic() < end, f"{name} failed:\n{runtime_log(container)}"
        await asyncio.sleep(0.05)


def ask(kind: str, client: RewardClient | InnerLLMClient, tag: str, num: int) -> Awaitable[bool]:
    """Asks for `num` different items, and tells whether all answers are good."""
    texts = [f"What colour is the star, {tag} {number}?" for number in range(num)]

    async def score() -> bool:
        group = question_group(*texts)
        if kind == "answer-reward":
            items = tuple(answer_item(str(i), t, "It is red.") for i, t in enumerate(texts))
            group = Group(image=square(), items=items)
        response = await cast("RewardClient", client).score([group], timeout_s=60)
        return [item.reward is not None for item in response.groups[0].items] == [True] * num

    async def rewrite() -> bool:
        answer = "A red star is at the top. A blue circle is at the left. " * 4
        items = [
            RewriteItem(id=str(i), question=text, answer=answer) for i, text in enumerate(texts)
        ]
        response = await cast("InnerLLMClient", client).rewrite(items, timeout_s=120)
        return [item.error for item in response.items] == [None] * num

    return rewrite() if kind == "inner-llm" else score()


def client_of(server: Server, transport: Transport, key: str) -> RewardClient | InnerLLMClient:
    endpoint = server.endpoint(transport, api_key=key)
    if server.kind == "inner-llm":
        return connect_inner_llm(endpoint)
    return connect_reward(endpoint, kind=server.kind)


@pytest.mark.parametrize("kind", ["question-reward", "answer-reward", "inner-llm"])
async def test_deployment_gets_ready_answers_and_drains_within_its_grace(
    tmp_path: Path, kind: ServiceKind
):
    with deployed(kind, tmp_path) as (container, server, source):
        before = sorted(source.rglob("*"))
        await until_probe(container, "startupProbe", within_s=container.startup_s())
        await until_probe(container, "readinessProbe", within_s=180)
        assert status(container.probe("livenessProbe")) == 200
        async with AsyncExitStack() as stack:
            clients = [client_of(server, transport, KEY) for transport in ("rest", "grpc")]
            stranger = client_of(server, "grpc", "another")
            for client in (*clients, stranger):
                stack.push_async_callback(client.aclose)
            for client in clients:
                assert await ask(kind, client, "first", 1)
            with pytest.raises(UnauthenticatedError):
                await stranger.model(timeout_s=10)
            await check_drain(container, server, clients)
        assert sorted(source.rglob("*")) == before, "something was written into the image"
    assert container.root in Path(container.environ["BENTOML_HOME"]).parents


async def check_drain(
    container: Container, server: Server, clients: list[RewardClient | InnerLLMClient]
) -> None:
    calls: list[asyncio.Future[bool]] = []
    async with asyncio.timeout(120):
        inside = 0.0
        for wave in range(20):  # a fast engine may have answered all before we look
            calls += send(server.kind, clients, wave)
            inside = await until_received(server, calls, items_each=items_of(server.kind))
            if inside:
                break
    assert inside, "nothing was in flight"
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.gather(*calls) == [True] * len(calls)
    assert await asyncio.to_thread(server.process.wait, container.grace_s) == 0
    assert time.monotonic() - began + container.pre_stop_s < container.grace_s


def send(
    kind: str, clients: list[RewardClient | InnerLLMClient], wave: int
) -> list[asyncio.Future[bool]]:
    """Sends a request of each caller over each transport."""
    num = items_of(kind)
    return [
        asyncio.ensure_future(ask(kind, client, f"{place} {number} {wave}", num))
        for number in range(NUM_CALLERS)
        for place, client in enumerate(clients)
    ]


def items_of(kind: str) -> int:
    return 1 if kind == "inner-llm" else NUM_ITEMS
