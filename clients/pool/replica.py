"""One replica as its pool sees it: whether it takes a call now, and what each outcome means for it. Pure.

Back-off belongs to the replica, not to the call: no call holds a slot while it waits, and any other
replica may take it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from align2llava.clients.errors import ClientError
from align2llava.clients.pool.breaker import Breaker
from align2llava.clients.pool.limit import AdaptiveLimit, Shape, Ticket
from align2llava.clients.retry import delay_s
from align2llava.clients.wire.codes import Code

FAULTS = frozenset({Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """A slot taken at a replica for one call; `is_trial` = it decides whether the circuit closes."""

    ticket: Ticket
    is_trial: bool


class Replica:
    """Limit, circuit breaker and pauses of one replica; `max_in_flight` bounds the limit."""

    def __init__(self, url: str, *, max_in_flight: int) -> None:
        self.url = url
        self.is_expelled = False
        self._limit = AdaptiveLimit(max_in_flight)
        self._breaker = Breaker()
        self._paused_until = 0.0
        self._num_refusals = 0  # in a row, with nothing of ours in flight
        self._last_sent = -math.inf

    @property
    def limit(self) -> int:
        """Returns how many calls it takes at once."""
        return self._limit.limit

    @property
    def in_flight(self) -> int:
        """Returns how many calls it has."""
        return self._limit.in_flight

    @property
    def rank(self) -> tuple[float, float]:
        """Returns its place in the order of choice: least loaded first, then longest unused."""
        return (self.in_flight / self.limit, self._last_sent)

    def opens_at(self) -> float:
        """Returns from when on it takes a call; infinite where only an answer can tell."""
        if self.is_expelled or self.in_flight >= self.limit:
            return math.inf
        return max(self._breaker.opens_at(), self._paused_until)

    def take(self, shape: Shape, now: float) -> Permit:
        """Takes a slot for a call that goes out now."""
        self._last_sent = now
        return Permit(ticket=self._limit.sent(shape, now), is_trial=self._breaker.sent())

    def answered(self, permit: Permit, now: float) -> None:
        """Gives the slot back after an answer."""
        self._limit.answered(permit.ticket, now)
        self._is_there()
        self._num_refusals = 0

    def failed(self, permit: Permit, error: ClientError, now: float, *, jitter: float) -> None:
        """Gives the slot back after an error; `jitter` in [0, 1)."""
        if error.code in (Code.OVERLOADED, Code.DEADLINE_EXCEEDED):
            self._limit.refused(permit.ticket)
        else:
            self._limit.gone(permit.ticket)
        if error.code in FAULTS:
            self._breaker.failed(now, is_trial=permit.is_trial, jitter=jitter)
            return
        self._is_there()
        if error.code is not Code.OVERLOADED:
            self._num_refusals = 0
        elif self.in_flight == 0:  # else the smaller limit is the pause
            pause_s = delay_s(
                self._num_refusals, retry_after_s=error.retry_after_s, jitter=(1 + jitter) / 2
            )
            self._paused_until = now + pause_s
            self._num_refusals += 1

    def dropped(self, permit: Permit) -> None:
        """Gives the slot back after a call that was cancelled."""
        self._limit.gone(permit.ticket)
        self._breaker.abandoned(is_trial=permit.is_trial)

    def _is_there(self) -> None:
        if not self._breaker.is_closed:
            self._limit.restart()
        self._breaker.answered()


R = TypeVar("R", bound=Replica)


def least_loaded(replicas: Iterable[R], now: float) -> R | None:
    """Returns the replica that should take the next call, None where none takes one now."""
    ready = [replica for replica in replicas if replica.opens_at() <= now]
    return min(ready, key=lambda replica: replica.rank, default=None)
