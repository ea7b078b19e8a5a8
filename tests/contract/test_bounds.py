"""What a request may cost before it is refused, on real services: memory, time of the event loop, log."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import httpx
import psutil
import pytest

from align2llava.services.process.connections import MAX_HEAD_BYTES
from tests.attacks.bodies import GRPC_BOMBS, JSON, MIB, rest_bombs
from tests.contract.servers import Server, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SCORE = "/align2llava.v1.QuestionReward/Score"
KEY = "secret-key"

# What blocked a service for 2 to 50 s, and took up to 1.3 GiB, when it was validated.
REST_NAMES = ("numbers", "objects", "members", "texts", "nils", "maps")
REST_BOMBS = {name: bomb for name, bomb in rest_bombs(MIB).items() if name in REST_NAMES}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("keyed")
    (folder / "keys").write_text(f"{KEY}\n")
    settings = {"A2L_API_KEYS_FILE": str(folder / "keys")}
    with server("question-reward", folder, settings=settings) as running:
        yield running


def worker(running: Server) -> psutil.Process:
    """The process that serves, below the supervisor."""
    for process in psutil.Process(running.process.pid).children(recursive=True):
        if any(one.laddr.port == running.grpc_port for one in process.net_connections("inet")):
            return process
    raise AssertionError("no worker")


@dataclass
class Spent:
    cpu_s: float = 0.0
    num_bytes: int = 0  # of memory, at most


@asynccontextmanager
async def spending(running: Server) -> AsyncGenerator[Spent]:
    """What the service spends meanwhile; /livez is asked all the time."""
    process = worker(running)
    spent = Spent()
    rss, cpu_s = process.memory_info().rss, sum(process.cpu_times()[:2])

    async def watch() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            while True:
                assert (await http.get(f"{running.url('rest')}/livez")).status_code == 200
                spent.num_bytes = max(spent.num_bytes, process.memory_info().rss - rss)
                await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        yield spent
        await asyncio.sleep(0.1)
        spent.cpu_s = sum(process.cpu_times()[:2]) - cpu_s
    finally:
        watching.cancel()
        await asyncio.wait([watching])


@pytest.mark.parametrize("name", REST_BOMBS)
async def test_a_mebibyte_of_rest_costs_little(question_server: Server, name: str):
    content_type, body = REST_BOMBS[name]
    url = f"{question_server.url('rest')}/v1/score"
    num_lines = question_server.log.read_bytes().count(b"\n")
    headers = {"content-type": content_type}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
        spending(question_server) as spent,
    ):
        answer = await http.post(url, content=body, headers=headers)
    assert answer.status_code == 413
    assert spent.num_bytes < 64 * MIB
    assert spent.cpu_s < 2  # some 0.05
    assert question_server.log.read_bytes().count(b"\n") <= num_lines + 1


@pytest.mark.parametrize("name", GRPC_BOMBS)
async def test_a_mebibyte_of_grpc_costs_little(question_server: Server, name: str):
    address = f"127.0.0.1:{question_server.grpc_port}"
    async with grpc.aio.insecure_channel(address) as channel, spending(question_server) as spent:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(SCORE)(GRPC_BOMBS[name], timeout=60)
    assert refused.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert spent.num_bytes < 64 * MIB
    assert spent.cpu_s < 2


async def test_calls_without_a_key_take_no_memory(keyed: Server):
    address = f"127.0.0.1:{keyed.grpc_port}"
    options = [("grpc.max_send_message_length", -1)]
    data = bytes(20 * MIB)
    async with (
        grpc.aio.insecure_channel(address, options=options) as channel,
        spending(keyed) as spent,
    ):
        calls = [channel.unary_unary(SCORE)(data, timeout=60) for _ in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = {one.code() for one in answers if isinstance(one, grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.UNAUTHENTICATED}
    assert spent.num_bytes < 64 * MIB


HEADS: dict[str, tuple[bytes, bytes]] = {
    "one header": (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"a" * MIB),
    "many headers": (b"GET / HTTP/1.1\r\nhost: a\r\n", b"x: y\r\n" * (MIB // 6)),
    "the path": (b"GET /", b"a" * MIB),
    "trailers": (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n",
        b"x: y\r\n" * (MIB // 6),
    ),
}


@pytest.mark.parametrize("name", HEADS)
async def test_endless_head_is_cut(keyed: Server, name: str):
    first, more = HEADS[name]

    def sent() -> int:
        with socket.create_connection(("127.0.0.1", keyed.http_port), timeout=20) as connection:
            connection.sendall(first)
            for count in range(64):
                try:
                    connection.sendall(more)
                except OSError:
                    return count
        return 64

    async with spending(keyed) as spent:
        assert await asyncio.to_thread(sent) < 64  # MiB; the system holds some for us
    assert spent.num_bytes < 32 * MIB


async def test_head_that_is_too_long_is_told_so(keyed: Server):
    reader, writer = await asyncio.open_connection("127.0.0.1", keyed.http_port)
    begin = b"GET / HTTP/1.1\r\nhost: a\r\nx: "
    writer.write(begin.ljust(MAX_HEAD_BYTES + 1, b"a"))
    assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
    writer.close()


LIVE = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = re.findall(rb"content-length: (\d+)", head)
    await reader.readexactly(int(length))
    return head


async def test_half_a_head_is_not_waited_for_and_an_idle_connection_is(keyed: Server):
    async def cut_after_s(before: bytes) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", keyed.http_port)
        if before:
            writer.write(before)
            await read_answer(reader)
        began = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nhost: a")
        with suppress(ConnectionResetError):
            assert await reader.read(1) == b""
        writer.close()
        return time.monotonic() - began

    reader, writer = await asyncio.open_connection("127.0.0.1", keyed.http_port)
    writer.write(LIVE)
    await read_answer(reader)
    assert max(await asyncio.gather(cut_after_s(b""), cut_after_s(LIVE))) < 55
    writer.write(LIVE)  # as a proxy that kept it for longer than a head may take
    assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_body_that_does_not_end_is_given_up_at_its_deadline(keyed: Server):
    headers = f"authorization: Bearer {KEY}\r\nx-deadline-ms: 300\r\ncontent-type: {JSON}\r\n"
    head = f"POST /v1/score HTTP/1.1\r\nhost: a\r\n{headers}content-length: 99\r\n\r\n{{"

    def answer() -> bytes:
        with socket.create_connection(("127.0.0.1", keyed.http_port), timeout=20) as connection:
            connection.sendall(head.encode())
            return connection.recv(1000)

    assert (await asyncio.to_thread(answer)).startswith(b"HTTP/1.1 504")


async def test_revoked_key_ends_without_a_restart(keyed: Server):
    keys = keyed.log.parent / "keys"

    async def until(status: int, key: str) -> None:
        async with asyncio.timeout(20), httpx.AsyncClient(trust_env=False) as http:
            http.headers["authorization"] = f"Bearer {key}"
            while (await http.get(f"{keyed.url('rest')}/v1/model")).status_code != status:  # noqa: ASYNC110  (no event)
                await asyncio.sleep(0.05)

    await until(200, KEY)
    keys.write_text("another-key\n")
    try:
        await until(401, KEY)
        await until(200, "another-key")
    finally:
        keys.write_text(f"{KEY}\n")
    await until(200, KEY)


async def test_log_holds_no_line_of_a_caller(question_server: Server):
    said_before = len(question_server.log.read_text())  # other tests make it fail on purpose
    forged = '{"groups":[],"\\n2026-11-27T00:00:00+0000 [INFO] FORGED \\u001b[31m":1}'
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"{question_server.url('rest')}/v1/score"
        answer = await http.post(url, content=forged, headers={"content-type": JSON})
    assert answer.status_code == 400
    log = question_server.log.read_text()[said_before:]
    assert "FORGED" not in log
    assert "Traceback" not in log
