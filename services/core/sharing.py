"""Device time shared by what runs at the same time, where the engine batches by itself.

While n users run, each is charged 1/n of the time: the charges add up to the time in which the
device was busy.
"""

import time
from collections.abc import Callable


class SharedClock:
    """Charges each user its share; used from one thread."""

    def __init__(self, now_s: Callable[[], float] = time.perf_counter) -> None:
        self._now_s = now_s
        self._num_users = 0
        self._share_s = 0.0  # what a user that was there from the beginning would be charged
        self._last_s = now_s()

    def enter(self) -> float:
        """Begins a use; give the returned mark to `leave_ms`."""
        self._advance()
        self._num_users += 1
        return self._share_s

    def leave_ms(self, mark: float) -> float:
        """Ends a use and returns its charge in ms."""
        self._advance()
        self._num_users -= 1
        return 1e3 * (self._share_s - mark)

    def _advance(self) -> None:
        now_s = self._now_s()
        if self._num_users:
            self._share_s += (now_s - self._last_s) / self._num_users
        self._last_s = now_s
