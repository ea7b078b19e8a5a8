"""A scheme that meets another protocol is told what to write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import OtherServiceError
from align2llava.clients.transport.connect import connect_reward
from align2llava.clients.transport.spoken import Spoken, spoken_at


@asynccontextmanager
async def grpc_port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def port_that_says(said: bytes) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


HTTP = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"


async def asked(url: str) -> str:
    client = connect_reward(Endpoint(url=url), kind="question-reward")
    try:
        with pytest.raises(OtherServiceError) as caught:
            await client.model(timeout_s=5)
    finally:
        await client.aclose()
    return str(caught.value)


async def test_rest_at_a_grpc_port_is_told_so():
    async with grpc_port() as port:
        assert "that is a gRPC port: write grpc://" in await asked(f"http://127.0.0.1:{port}")


async def test_grpc_at_an_http_port_is_told_so():
    async with port_that_says(HTTP) as port:
        assert "that is an HTTP port: write http://" in await asked(f"grpc://127.0.0.1:{port}")


async def test_tls_at_a_plain_port_is_told_so():
    async with port_that_says(HTTP) as port:
        words = await asked(f"https://127.0.0.1:{port}")
    assert "that is an HTTP port without TLS: write http://" in words


async def test_plain_at_a_tls_port_is_told_so():
    async with port_that_says(ALERT) as port:
        assert "write https://" in await asked(f"http://127.0.0.1:{port}")
        assert "write grpcs://" in await asked(f"grpc://127.0.0.1:{port}")


async def test_silence_says_nothing():
    async with port_that_says(b"") as port:
        assert await spoken_at(Endpoint(url=f"http://127.0.0.1:{port}").address()) is None
    async with grpc_port() as port:
        address = Endpoint(url=f"grpc://127.0.0.1:{port}").address()
        assert await spoken_at(address) is Spoken.GRPC
