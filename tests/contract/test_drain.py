"""Each service alone, `kill -TERM` under load: every accepted request is answered; it ends with 0."""

import asyncio
import signal
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from align2llava.clients.api import InnerLLMClient, RewardClient
from align2llava.clients.wire.kinds import ServiceKind
from align2llava.clients.wire.schemas import Group, RewriteItem
from tests.contract.servers import ROOT, Server, Transport, server, until_received
from tests.contract.wire_values import answer_item, question_group, square

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NUM_CALLERS = 4  # over each transport
SLOW = "[[slow 200]]"
LONG = "A red star is at the top. A blue circle is at the left. " * 4


def client_of(running: Server, transport: Transport) -> RewardClient | InnerLLMClient:
    if running.kind == "inner-llm":
        return running.inner_client(transport)
    return running.reward_client(transport)


def is_answered(kind: str, client: RewardClient | InnerLLMClient, text: str) -> Awaitable[bool]:
    """Asks for one item, and tells whether its answer is good."""

    async def score() -> bool:
        group = question_group(text)
        if kind == "answer-reward":
            group = Group(image=square(), items=(answer_item("a", "q", text),))
        response = await cast("RewardClient", client).score([group], timeout_s=40)
        return response.groups[0].items[0].reward is not None

    async def rewrite() -> bool:
        item = RewriteItem(id="a", question="Describe the following image.", answer=text)
        response = await cast("InnerLLMClient", client).rewrite([item], timeout_s=120)
        return response.items[0].error is None

    return rewrite() if kind == "inner-llm" else score()


async def check_drain(running: Server, *, text: str) -> None:
    """Terminates the service with requests inside it."""
    async with AsyncExitStack() as stack:
        clients = [client_of(running, transport) for transport in ("rest", "grpc")]
        for client in clients:
            stack.push_async_callback(client.aclose)
        calls: list[asyncio.Future[bool]] = []
        inside = 0.0
        async with asyncio.timeout(60):
            while not inside:  # a fast engine may have answered all before we look
                calls += [
                    asyncio.ensure_future(is_answered(running.kind, client, text))
                    for client in clients
                    for _ in range(NUM_CALLERS)
                ]
                inside = await until_received(running, calls, items_each=1)
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*calls) == [True] * len(calls)
        assert await asyncio.to_thread(running.process.wait, 60) == 0


@pytest.mark.parametrize("kind", ["question-reward", "answer-reward", "inner-llm"])
async def test_terminated_service_answers_what_it_accepted(tmp_path: Path, kind: ServiceKind):
    text = "[[slow 1500]]" if kind == "inner-llm" else SLOW
    settings = {"BENTOML_CONFIG_OVERRIDES": "{}"}  # with metrics, which tell what is inside
    with server(kind, tmp_path, settings=settings) as running:
        await check_drain(running, text=text)


async def test_terminated_vllm_answers_what_it_accepted(tmp_path: Path):
    settings = {
        "A2L_ENGINE": "vllm",
        "A2L_MODEL_DIR": str(ROOT / "examples" / "blocks" / "models" / "inner-llm"),
        "BENTOML_CONFIG_OVERRIDES": "{}",
    }
    with server("inner-llm", tmp_path, settings=settings) as running:
        await check_drain(running, text=LONG)
