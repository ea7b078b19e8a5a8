"""A hundredth of the floods, at live services; and what counts as a failure in them."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.attacks import floods
from tests.attacks.floods import FLOODS, Counts, run, try_one
from tests.fuzz.campaign import ServerFault, Verdict


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_services_live_through_floods_of_damaged_requests(tmp_path: Path):
    rows = run(tmp_path, seed=1, scale=0.01)
    assert {row.name for row in rows} == {flood.name for flood in FLOODS}
    assert all(row.is_held for row in rows), rows
    for row in rows:
        assert row.refused + row.accepted == row.tried
        assert row.refused
        assert row.accepted


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (ServerFault("500 b'{}'"), (1, 0)),
        (httpx.RemoteProtocolError("cut off"), (1, 0)),
        (ValueError("no JSON"), (1, 0)),
        (httpx.ReadTimeout("late"), (0, 1)),
    ],
)
async def test_what_is_no_answer_of_the_table_is_counted_and_kept(
    error: Exception, counted: tuple[int, int]
):
    async def feed(_: bytes) -> Verdict:
        raise error

    counts = Counts()
    await try_one(feed, b"input", counts)
    assert (counts.faults, counts.hangs) == counted
    assert list(counts.failures.values()) == [b"input"]
    assert counts.accepted + counts.refused == 0


async def test_no_answer_in_time_is_a_hang(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(floods, "PATIENCE_S", 0.01)

    async def feed(_: bytes) -> Verdict:
        await asyncio.sleep(60)
        return Verdict.ACCEPTED

    counts = Counts()
    await try_one(feed, b"input", counts)
    assert (counts.faults, counts.hangs) == (0, 1)
