"""A hundredth of the floods, at live services; and what counts as a failure in them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.attacks import flood_forms as forms
from tests.attacks import floods
from tests.attacks.flood_forms import RefusedWholeError
from tests.attacks.floods import FLOODS, Tally, rows, try_one
from tests.attacks.keep_alive import KeepAlive
from tests.fuzz.campaign import ServerFault, Verdict


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
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        connection = KeepAlive(listener.sockets[0].getsockname()[1])
        answers: list[httpx.Response] = [await connection.ask(b"ask!") for _ in range(4)]
        connection.close()
    assert [one.content for one in answers] == [b"one", b"two", b"one", b"two"]
    assert num_connections == 2
