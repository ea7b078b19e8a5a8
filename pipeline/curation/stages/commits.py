"""Group commits: when results are written to disk, off the event loop. Knows not what is written."""

import asyncio
import time
from collections.abc import Awaitable, Callable

MAX_ROWS = 16_384


class GroupCommit:
    """Commits once enough rows wait, and what has waited for `max_seconds`; one commit at a time."""

    def __init__(
        self,
        commit: Callable[[], None],
        *,
        num_pending: Callable[[], int],
        max_seconds: float,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._commit = commit
        self._num_pending = num_pending
        self._max_rows = max_rows
        self._max_seconds = max_seconds
        self._one_at_a_time = asyncio.Lock()
        self._last = time.monotonic()

    async def if_due(self) -> None:
        """Commits where it is time to; waits until it is done.

        Raises:
            StoreError: the write failed.
        """
        is_old = time.monotonic() - self._last > self._max_seconds
        if self._num_pending() < self._max_rows and not is_old:
            return
        await self._now()

    async def during(self, work: Awaitable[None]) -> None:
        """Awaits `work`; what comes of it is on disk in time also where nothing more comes.

        A write that fails here is told of by the next one, which has the same rows to write.
        """
        ticking = asyncio.create_task(self._tick())
        try:
            await work
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._max_seconds)
            await self._now()

    async def _now(self) -> None:
        async with self._one_at_a_time:
            self._last = time.monotonic()
            await asyncio.to_thread(self._commit)
