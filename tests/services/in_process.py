"""A whole service inside the test's own process: its ASGI app and its gRPC port, fake engine."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from unittest import mock

import grpc.aio
import httpx
from asgi_lifespan import LifespanManager

from align2llava.services.process.lifecycle import Runtime

FAKE = {"A2L_ENGINE": "fake", "A2L_GRPC_PORT": "0"}


@dataclass(frozen=True, kw_only=True)
class InProcess:
    http: httpx.AsyncClient
    channel: grpc.aio.Channel
    runtime: Runtime


@asynccontextmanager
async def in_process(
    service, runtime: Runtime, environ: Mapping[str, str] | None = None
) -> AsyncIterator[InProcess]:
    """Starts a service of `services/`, ready to answer; `environ` is laid over `FAKE`."""
    with mock.patch.dict(os.environ, {**FAKE, **(environ or {})}):
        app = service.to_asgi()
        async with LifespanManager(app, startup_timeout=20, shutdown_timeout=20) as manager:
            await until(lambda: runtime.is_ready or not runtime.is_alive)
            transport = httpx.ASGITransport(app=manager.app)
            address = f"127.0.0.1:{runtime.started.grpc_port}"
            async with (
                httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
                grpc.aio.insecure_channel(address) as channel,
            ):
                yield InProcess(http=http, channel=channel, runtime=runtime)


async def until(condition, *, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  (a state without an event)
            await asyncio.sleep(0.005)
