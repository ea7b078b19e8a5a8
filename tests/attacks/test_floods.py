"""A hundredth of the floods, at live services; and what counts as a failure in them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.attacks import flood_forms as forms
from tests.attacks import floods
from tests.attacks.flood_forms import RefusedWholeError
from tests.attacks.floods import FLOODS, Tally, rows, try_one
from tests.attacks.keep_alive import KeepAlive
from tests.attacks.onslaughts import Site
from tests.attacks.world import KINDS
from tests.fuzz.campaign import ServerFault, Verdict

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(serve: Serve) -> AsyncGenerator[int]:
    """The port of a service that does this with each connection."""
    served: set[asyncio.Task[None] | None] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        await serve(reader, writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(accepted, "127.0.0.1", 0) as listener:
        yield listener.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in served if task is not None))


def site_at(kind: str, port: int) -> Site:
    return Site(kind=kind, http_port=port, grpc_port=0, key="a")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_services_live_through_floods_of_damaged_requests(tmp_path: Path):
    made = list(rows(tmp_path, seed=1, scale=0.01))
    assert {one.name for one in made} == {flood.name for flood in FLOODS}
    for one in made:
        assert one.is_held, one
        assert one.refused + one.accepted == one.tried, one
        assert one.refused, one
    assert sum(one.accepted for one in made) > 500


def test_whole_campaign_is_large_enough():
    def num_inputs(*words: str) -> int:
        return sum(one.num_inputs for one in FLOODS if any(word in one.form for word in words))

    assert num_inputs("bodies", "headers", "paths") >= 100_000
    assert num_inputs("gRPC") >= 100_000
    assert num_inputs("images") >= 80_000


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ServerFault("500 b'{}'"), (1, 0)),
        (ConnectionResetError("cut off"), (1, 0)),
        (asyncio.IncompleteReadError(b"", 9), (1, 0)),
        (TimeoutError(), (0, 1)),
    ],
)
async def test_what_is_no_answer_of_the_table_is_counted_and_kept(
    error: Exception, counted: tuple[int, int]
):
    async def send(_: Sequence[bytes]) -> Sequence[Verdict]:
        raise error

    tally = Tally()
    await try_one(send, [b"input"], tally)
    assert (tally.verdicts[Verdict.FAULT], tally.hangs, tally.tried) == (*counted, 1)
    assert [one.data for one in tally.failures.values()] == [b"input"]


async def test_no_answer_in_time_is_a_hang(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(floods, "ANSWER_S", 0.01)

    async def send(_: Sequence[bytes]) -> Sequence[Verdict]:
        await asyncio.sleep(60)
        return [Verdict.ACCEPTED]

    tally = Tally()
    await try_one(send, [b"input"], tally)
    assert (tally.verdicts.total(), tally.hangs, tally.tried) == (0, 1, 1)


async def test_inputs_that_were_refused_together_are_each_sent_alone():
    async def send(inputs: Sequence[bytes]) -> Sequence[Verdict]:
        if len(inputs) > 1:
            raise RefusedWholeError("one is empty")
        return [Verdict.ACCEPTED if inputs[0] else Verdict.REFUSED]

    tally = Tally()
    await try_one(send, [b"a", b"", b"b"], tally)
    assert tally.verdicts == {Verdict.ACCEPTED: 2, Verdict.REFUSED: 1}
    assert tally.tried == 3


@pytest.mark.parametrize(
    ("headers", "is_framed"),
    [
        (b"content-type: a\ncontent-length: 5", True),
        (b"content-type: a\ncontent-length: 6", False),
        (b"content-length: 5\nContent-Length: 5", False),
        (b"content-length: 5\ntransfer-encoding: chunked", False),
        (b"content-type: a", False),
        (b"content-length: 5\n\na: b", False),
    ],
)
def test_requests_whose_end_nobody_knows_are_told(headers: bytes, is_framed: bool):
    assert forms.is_framed(b"/v1/score", headers, 5) is is_framed
    assert not forms.is_framed(b"/v1/score x", headers, 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["JSON bodies", "damaged headers", "damaged paths", "images"])
async def test_service_that_fails_at_all_is_found_in_each_form(kind: str, form: str):
    body = b'{"error": {"code": "internal", "message": "it failed"}}'
    head = b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"

    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**20):
            writer.write(head % len(body) + body)

    for flood in [one for one in FLOODS if one.kind == kind and form in one.form]:
        async with answering(fail) as port, flood.opened(site_at(kind, port)) as send:
            for seed in flood.seeds:
                with pytest.raises(ServerFault, match="500"):
                    await send([seed.prefix + seed.body])


async def test_connection_is_kept_and_made_anew_where_the_service_ended_it():
    num_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        num_connections += 1
        for body in (b"one", b"two"):
            await reader.readuntil(b"!")
            head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
            if body == b"one":
                writer.write(head + b"content-length: 3\r\n\r\none")
            else:
                writer.write(head + b"transfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n")

    async with answering(serve) as port:
        connection = KeepAlive(port)
        answers: list[httpx.Response] = [await connection.ask(b"ask!") for _ in range(4)]
        connection.close()
    assert [one.content for one in answers] == [b"one", b"two", b"one", b"two"]
    assert num_connections == 2


async def test_end_without_an_answer_is_one_only_behind_bytes_that_are_no_whole_request():
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(2**20)

    async with answering(serve) as port:
        connection = KeepAlive(port)
        assert await connection.ask_and_end(b"POST") is None
        with pytest.raises(EOFError):
            await connection.ask(b"POST / HTTP/1.1\r\n\r\n")
