"""Real service processes for tests: started with `bentoml serve`, ready, and stopped."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from align2llava.clients.api import InnerLLMClient, RewardClient
from align2llava.clients.endpoint import Endpoint
from align2llava.clients.transport.connect import connect_inner_llm, connect_reward
from align2llava.clients.wire.kinds import ServiceKind
from align2llava.pipeline.serving.service_process import TARGETS

ROOT = Path(__file__).resolve().parent.parent.parent
Transport = Literal["rest", "grpc"]


@dataclass(frozen=True, kw_only=True)
class Server:
    """One running service."""

    kind: ServiceKind
    http_port: int
    grpc_port: int
    process: subprocess.Popen[bytes]
    log: Path

    def url(self, transport: Transport) -> str:
        if transport == "rest":
            return f"http://127.0.0.1:{self.http_port}"
        return f"grpc://127.0.0.1:{self.grpc_port}"

    def endpoint(self, transport: Transport, *, api_key: str | None = None) -> Endpoint:
        return Endpoint(url=self.url(transport), api_key=api_key)

    def reward_client(self, transport: Transport, *, api_key: str | None = None) -> RewardClient:
        assert self.kind != "inner-llm"
        return connect_reward(self.endpoint(transport, api_key=api_key), kind=self.kind)

    def inner_client(self, transport: Transport) -> InnerLLMClient:
        return connect_inner_llm(self.endpoint(transport))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def server(
    kind: ServiceKind,
    folder: Path,
    *,
    settings: Mapping[str, str] | None = None,
    timeout_s: float = 240,  # a busy machine compiles and loads slowly
    await_ready: bool = True,
    python: str | Path = sys.executable,
    root: Path = ROOT,
    target: str = "",
) -> Iterator[Server]:
    """A service with the fake engine (unless `settings` say otherwise), ready to answer.

    `root` and `target` are those of another tree than this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    http_port, grpc_port = free_port(), free_port()
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}
    environ |= {
        "A2L_ENGINE": "fake",
        "A2L_GRPC_PORT": str(grpc_port),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(root),
        **(settings or {}),
    }
    log = folder / "server.log"
    arguments = ["serve", target or TARGETS[kind], "--host", "127.0.0.1", "-p", str(http_port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "bentoml", *arguments],
            cwd=root,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Server(kind=kind, http_port=http_port, grpc_port=grpc_port, process=process, log=log)
    try:
        if await_ready:
            wait_ready(running, timeout_s=timeout_s)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(running: Server, *, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if running.process.poll() is not None:
            break
        try:
            if httpx.get(f"{running.url('rest')}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{running.kind} is not ready:\n{running.log.read_text()[-3000:]}")


async def items_inside(running: Server) -> float:
    """Returns how many items are accepted and not answered yet, as its metrics say."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{running.url('rest')}/metrics")).text
    found = re.search(r"^a2l_queue_items (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def until_accepted(running: Server, num_items: int) -> None:
    """Waits until that many items are inside at once."""
    async with asyncio.timeout(20):
        while True:
            if await items_inside(running) >= num_items:
                return
            await asyncio.sleep(0.02)


async def until_received(
    running: Server, calls: Sequence[asyncio.Future[bool]], *, items_each: int
) -> float:
    """Waits until each call is answered or accepted, and returns how many items are inside then."""
    while True:
        answered = sum(call.done() for call in calls)  # before we look: none is counted twice
        inside = await items_inside(running)
        if answered + inside / items_each >= len(calls):
            return inside
