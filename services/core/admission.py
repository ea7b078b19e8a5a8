"""The door: how much work a service has accepted and not answered yet, bounded by items and bytes.

A full service refuses at once. Draining closes the door and waits for what is inside. Knows no
transport and no engine.
"""

import asyncio
import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from align2llava.services.errors import (
    DeadlineError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
)

# However long a caller says he waits: his body, his place and his answer are held no longer.
MAX_WAIT_S = 600.0

_MIN_RETRY_MS = 50
_MAX_RETRY_MS = 10_000
# Who waited less and got nothing shows nothing: a batch on a CPU takes seconds.
_PATIENCE_S = 30.0
_RATE_WEIGHT = 0.2  # of the newest observation, in the moving mean of ms per item


class Admission:
    """Counts accepted work; used from the event loop only."""

    def __init__(
        self,
        *,
        max_items: int,
        max_bytes: int,
        patience_s: float = _PATIENCE_S,
        on_change: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._on_change = on_change
        self._num_items = 0
        self._num_bytes = 0
        self._ms_per_item = 0.0  # not known before the first observation
        self._is_closed = False
        self._answered_at: dict[str, float] = {}  # the last answer of each kind
        self._doubted: set[str] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def num_items(self) -> int:
        """Items inside."""
        return self._num_items

    @property
    def is_doubted(self) -> bool:
        """Whether a caller waited long for nothing, while nobody who asked for the same was answered."""
        return bool(self._doubted)

    def trust(self) -> None:
        """Ends all doubt: what is behind the door has answered."""
        self._doubted.clear()

    @contextmanager
    def admit(self, *, num_items: int, num_bytes: int, kind: str = "") -> Generator[None]:
        """Holds room for a request while it is worked on; `kind` tells apart what is answered in different ways.

        Raises:
            TooLargeError: there would be no room for it even if nothing else were inside.
            OverloadedError: there is no room now.
            UnavailableError: the door is closed.
        """
        if self._is_closed:
            raise UnavailableError("the service is shutting down")
        if num_items > self._max_items or num_bytes > self._max_bytes:
            raise TooLargeError(
                f"the request has {num_items} items in {num_bytes} bytes; the limits are "
                f"{self._max_items} items and {self._max_bytes} bytes"
            )
        self._refuse_full(num_items=num_items, num_bytes=num_bytes)
        self._change(num_items, num_bytes)
        came_at = time.monotonic()
        try:
            yield
            self._answered_at[kind] = time.monotonic()
            self._doubted.discard(kind)
        except (DeadlineError, asyncio.CancelledError):  # gRPC cancels at the deadline
            was_answered = self._answered_at.get(kind, -math.inf) > came_at
            if not was_answered and time.monotonic() - came_at > self._patience_s:
                self._doubted.add(kind)
            raise
        finally:
            self._change(-num_items, -num_bytes)

    @contextmanager
    def receive(self) -> Generator[Callable[[int], None]]:
        """Holds room for a body while it is read and parsed: what it yields is told of each part.

        That raises OverloadedError where there is no room for the part.
        """
        num_held = 0

        def take(num_bytes: int) -> None:
            nonlocal num_held
            self._refuse_full(num_items=0, num_bytes=num_bytes)
            num_held += num_bytes
            self._num_bytes += num_bytes

        try:
            yield take
        finally:
            self._num_bytes -= num_held

    def refuse_early(self) -> None:
        """Refuses a request that is not parsed yet where not even one item finds room.

        Raises:
            OverloadedError: there is no room now.
            UnavailableError: the door is closed.
        """
        if self._is_closed:
            raise UnavailableError("the service is shutting down")
        self._refuse_full(num_items=1, num_bytes=0)

    def _refuse_full(self, *, num_items: int, num_bytes: int) -> None:
        if self._num_items + num_items > self._max_items:
            raise OverloadedError(
                f"{self._num_items} items wait and {num_items} came; the limit is {self._max_items}",
                retry_after_ms=self.retry_after_ms(),
            )
        if self._num_bytes + num_bytes > self._max_bytes:
            raise OverloadedError(
                f"{self._num_bytes} bytes wait and {num_bytes} came; the limit is {self._max_bytes}",
                retry_after_ms=self.retry_after_ms(),
            )

    def _change(self, num_items: int, num_bytes: int) -> None:
        self._num_items += num_items
        self._num_bytes += num_bytes
        if self._num_items == 0:
            self._empty.set()
        else:
            self._empty.clear()
        self._on_change(self._num_items)

    def observe(self, *, num_items: int, elapsed_ms: float) -> None:
        """Learns how long items take, for `retry_after_ms`."""
        if num_items > 0:
            newest = elapsed_ms / num_items
            weight = _RATE_WEIGHT if self._ms_per_item else 1.0
            self._ms_per_item += weight * (newest - self._ms_per_item)

    def retry_after_ms(self) -> int:
        """Returns when half of what is inside should be done, within 50 ms and 10 s."""
        expected = self._num_items * self._ms_per_item / 2
        return int(min(max(expected, _MIN_RETRY_MS), _MAX_RETRY_MS))

    def close(self) -> None:
        """Refuses all further work."""
        self._is_closed = True

    async def drained(self) -> None:
        """Waits until nothing is inside."""
        await self._empty.wait()
