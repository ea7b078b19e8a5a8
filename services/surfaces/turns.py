"""Work on large requests: one at a time, in a thread that leaves the interpreter to others as long as it held it.

Parsers hold the interpreter's lock while they run, so that several at once would be no faster: they would hold
memory together, and the event loop, which wants the lock some twenty times for a request, would wait each time.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

# Of a request that is worked on in the thread: the event loop would stand still.
LARGE_BYTES = 256 * 1024

P = ParamSpec("P")
T = TypeVar("T")


class _Turns:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parse")
        self._free_at = 0.0

    async def take(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    def _run(self, work: Callable[[], T]) -> T:
        time.sleep(max(0.0, self._free_at - time.monotonic()))
        began = time.monotonic()
        try:
            return work()
        finally:
            ended = time.monotonic()
            self._free_at = ended + (ended - began)


_turns = _Turns()


async def in_turn(num_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns what work on a request of that size comes to: at once, or, where it is large, when its turn has come."""
    if num_bytes <= LARGE_BYTES:
        return work(*args, **kwargs)
    return await _turns.take(lambda: work(*args, **kwargs))
