"""gRPC over a headless Service: even over its pods, onto a new one in time, and past one that dies.

Pods are processes on 127.0.0.1 to 127.0.0.4, with one port and one name, as in a cluster.
"""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.transport.connect import connect_reward
from align2llava.pipeline.serving.service_process import TARGETS
from tests.contract.servers import ROOT, free_port
from tests.contract.wire_values import question_group
from tests.k8s.name_server import Names, name_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ADDRESSES = [f"127.0.0.{number}" for number in range(1, 5)]
AGE_S = 5
# gRPC asks for a name again at most this often; production's connection age is ten times that.
RESOLUTION_S = 30


@contextmanager
def pod(address: str, folder: Path, *, ports: tuple[int, int]) -> Iterator[subprocess.Popen[bytes]]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}
    environ |= {
        "A2L_ENGINE": "fake",
        "A2L_GRPC_PORT": str(ports[1]),
        "A2L_MAX_CONNECTION_AGE_MS": str(AGE_S * 1000),
        "BENTOML_HOME": str(folder / address),
        "PYTHONPATH": str(ROOT),
    }
    command = [
        "bentoml",
        "serve",
        TARGETS["question-reward"],
        "--host",
        address,
        "-p",
        str(ports[0]),
    ]
    with (folder / f"{address}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=40)


async def until_ready(address: str, port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(60):
        while True:
            try:
                if (await http.get(f"http://{address}:{port}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def answered(address: str, port: int) -> float:
    """How many gRPC calls a pod has answered well."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"http://{address}:{port}/metrics")).text
    line = r'^a2l_requests_total\{code="ok",method="score",surface="grpc"\} (\S+)$'
    found = re.search(line, text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def test_calls_are_even_reach_a_new_pod_and_none_fails_when_one_dies(tmp_path: Path):
    ports = (free_port(), free_port())
    names = Names(ADDRESSES[:3])
    with ExitStack() as stack:
        dns = stack.enter_context(name_server(names))
        pods = [stack.enter_context(pod(a, tmp_path, ports=ports)) for a in ADDRESSES]
        for address in ADDRESSES:
            await until_ready(address, ports[0])
        url = f"dns://127.0.0.1:{dns}/question-reward-headless:{ports[1]}"
        client = connect_reward(Endpoint(url=url), kind="question-reward")

        async def call(num: int) -> None:
            for _ in range(num):
                response = await client.score([question_group("hello")], timeout_s=20)
                assert response.groups[0].items[0].reward is not None

        await call(300)
        shares = [await answered(address, ports[0]) for address in ADDRESSES]
        even = sum(shares) / 3  # 100 and more: an image unknown to a pod is sent once again
        assert even >= 100
        assert all(abs(share - even) <= 0.1 * even for share in shares[:3]), shares
        assert shares[3] == 0

        names.addresses = ADDRESSES
        added = time.monotonic()
        while not await answered(ADDRESSES[3], ports[0]):
            await call(5)
            assert time.monotonic() - added < AGE_S + RESOLUTION_S + 5
            await asyncio.sleep(0.05)

        pods[0].kill()
        await call(100)
        await client.aclose()
