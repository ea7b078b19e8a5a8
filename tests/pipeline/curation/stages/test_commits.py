"""Commits by number and by age, one at a time."""

import asyncio
import threading

import pytest

from align2llava.pipeline.curation.stages.commits import GroupCommit
from align2llava.pipeline.errors import StoreError


class Rows:
    """Rows that wait, and the commits they went into."""

    def __init__(self) -> None:
        self.waiting = 0
        self.commits: list[int] = []
        self.error: StoreError | None = None
        self.is_written = threading.Event()

    def commit(self) -> None:
        if self.error is not None:
            raise self.error
        if self.waiting:
            self.commits.append(self.waiting)
            self.waiting = 0
            self.is_written.set()

    def grouped(self, *, max_seconds: float, max_rows: int = 3) -> GroupCommit:
        return GroupCommit(
            self.commit,
            num_pending=lambda: self.waiting,
            max_seconds=max_seconds,
            max_rows=max_rows,
        )


async def test_enough_rows_are_committed_and_fewer_wait():
    rows = Rows()
    commits = rows.grouped(max_seconds=60)
    for _ in range(7):
        rows.waiting += 1
        await commits.if_due()
    assert rows.commits == [3, 3]
    assert rows.waiting == 1


async def test_rows_are_committed_in_time_where_no_more_come():
    rows = Rows()

    async def stalls_after_two_rows() -> None:
        rows.waiting = 2
        assert await asyncio.to_thread(rows.is_written.wait, 5)

    await rows.grouped(max_seconds=0.01).during(stalls_after_two_rows())
    assert rows.commits == [2]


async def test_failed_commit_in_between_fails_the_next_one_too_and_loses_nothing():
    rows = Rows()
    commits = rows.grouped(max_seconds=0.01)

    async def goes_on() -> None:
        rows.waiting, rows.error = 2, StoreError("full")
        await asyncio.sleep(0.03)
        await commits.if_due()

    with pytest.raises(StoreError, match="full"):
        await commits.during(goes_on())
    assert rows.waiting == 2


async def test_error_of_the_work_comes_through_and_nothing_is_left_running():
    async def fails() -> None:
        raise StoreError("gone")

    before = asyncio.all_tasks()
    with pytest.raises(StoreError, match="gone"):
        await Rows().grouped(max_seconds=60).during(fails())
    assert asyncio.all_tasks() == before
