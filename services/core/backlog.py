"""The line of work before the device, in tokens: who may still join it.

Queueing more than one batch adds delay and no throughput, so a request that would stand too far behind is
refused at once. A request that arrives early in a batch waits for the rest of it and then for its own, so the
running batch counts twice, and the line fills up while the batch comes to its end. How many tokens an item has is known once it is prepared;
before that the last batches tell. Knows no clock, no transport and no engine.
"""

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from align2llava.services.errors import OverloadedError

_NUM_BATCHES = 32  # that the estimates look back on
_RUNNING_WEIGHT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A batch that the device has done."""

    num_items: int
    num_tokens: int
    device_s: float


class Backlog:
    """Follows items from their arrival to the device and through it; from the event loop only.

    Times are seconds on one clock, whichever.
    """

    def __init__(self, *, max_tokens: float) -> None:
        self._max_tokens = max_tokens
        self._num_inside = 0
        self._num_running = 0
        self._running_tokens = 0
        self._since_s = 0.0  # when the device began with what it computes now
        self._seen: deque[_Seen] = deque(maxlen=_NUM_BATCHES)

    @contextmanager
    def hold(self, num_items: int) -> "Generator[Held]":
        """Counts the items of a request as long as they are worked on."""
        held = Held(self, num_items)
        self._num_inside += num_items
        try:
            yield held
        finally:
            held.release_all()

    def leave(self, num_items: int) -> None:
        """Forgets items that are done."""
        self._num_inside -= num_items

    def started(self, *, num_items: int, num_tokens: int, now_s: float) -> None:
        """Learns that a batch was handed to the device."""
        if self._num_running == 0:
            self._since_s = now_s
        self._num_running += num_items
        self._running_tokens += num_tokens

    def finished(self, *, num_items: int, num_tokens: int, device_s: float, now_s: float) -> None:
        """Learns that the oldest batch handed over is done."""
        self._num_running -= num_items
        self._running_tokens -= num_tokens
        self._since_s = now_s
        self._seen.append(_Seen(num_items=num_items, num_tokens=num_tokens, device_s=device_s))

    def tokens_ahead(self, now_s: float) -> float:
        """Returns about how many tokens wait before a request that comes now; what runs, twice."""
        num_waiting = max(0, self._num_inside - self._num_running)
        waiting = num_waiting * self._tokens_of_an_item()
        return waiting + _RUNNING_WEIGHT * self._running_left(now_s)

    def _running_left(self, now_s: float) -> float:
        device_s = sum(batch.device_s for batch in self._seen)
        if device_s <= 0:
            return self._running_tokens
        speed = sum(batch.num_tokens for batch in self._seen) / device_s
        return max(0.0, self._running_tokens - speed * (now_s - self._since_s))

    def _tokens_of_an_item(self) -> float:
        num_items = sum(batch.num_items for batch in self._seen)
        return sum(batch.num_tokens for batch in self._seen) / num_items if num_items else 0.0

    def check(self, *, now_s: float, retry_after_ms: int) -> None:
        """Accepts a request that would not stand too far behind, however large it is itself.

        Raises:
            OverloadedError: too much work is ahead of it.
        """
        ahead = self.tokens_ahead(now_s)
        if ahead > self._max_tokens:
            raise OverloadedError(
                f"about {ahead:.0f} tokens are ahead of the request; the limit is "
                f"{self._max_tokens:.0f}",
                retry_after_ms=retry_after_ms,
            )


class Held:
    """The items of one request that are not done yet."""

    def __init__(self, backlog: Backlog, num_items: int) -> None:
        self._backlog = backlog
        self._num_items = num_items

    def release(self, num_items: int) -> None:
        """Says that some of them are done."""
        self._num_items -= num_items
        self._backlog.leave(num_items)

    def release_all(self) -> None:
        """Says that nobody waits for the others any more."""
        self.release(self._num_items)
