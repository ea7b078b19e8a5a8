"""How many calls one replica takes at once, learnt from its latencies and refusals. Pure: no clock, no I/O.

The limit follows the latency gradient, so that a server which queues without ever refusing is found out:
each window of answers, limit = limit * gradient + sqrt(limit), gradient = tolerance * unloaded / now.
Source: Netflix/concurrency-limits, GradientLimit and Gradient2Limit at 14ddfa2f. What differs, and why,
stands in docs/concurrency.md: the unloaded latency is measured, not averaged, at a quarter of the limit
(ProbeRTT of BBR, draft-cardwell-iccrg-bbr-congestion-control), since a driver always fills its limit.
Refusals shrink the limit by a factor, and it comes back by one a window (AIMD, RFC 5681).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

START_LIMIT = 8
TOLERANCE = 2.0  # latency may be this many times the unloaded one before the limit shrinks
MIN_GRADIENT = 0.5  # outliers shrink it no faster
DECREASE = 0.7  # after a refusal; Source: RFC 9438 (CUBIC), sec. 4.6
MIN_SAMPLES = 4
PROBE_SHARE = 0.25
PROBE_EVERY = 50  # windows
FIRST_PROBE = 5  # windows; a cold server is slow at first. The gap doubles from here to PROBE_EVERY
SQUEEZED_WINDOWS = 5  # a limit that halved within no less than this is probed at once
FASTER = 0.75  # a window under this share of the unloaded latency is a reason to probe, too
CALM_WINDOWS = 10  # without a refusal, the limit grows by its root again

Shape = tuple[str, int]  # calls of one shape should take equally long


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One call in flight: what it is like, when it was sent, and under which limit."""

    shape: Shape
    sent: float
    epoch: int


class AdaptiveLimit:
    """The limit of one replica, between 1 and `max_limit`, and the calls in flight under it."""

    def __init__(self, max_limit: int) -> None:
        self._max_limit = float(max_limit)
        self._limit = min(float(START_LIMIT), self._max_limit)
        self._highest = self._limit  # since the last probe
        self._in_flight = 0
        self._most_in_flight = 0  # of this window
        self._epoch = 0  # counts limits: a window holds only calls sent under the present one
        self._window: list[tuple[Shape, float]] = []
        self._num_windows = 0  # since the last probe
        self._probe_after = FIRST_PROBE
        self._num_calm = 0  # windows since the last refusal
        self._slow_above = math.inf  # the limit grows by one a window from here on
        self._unloaded: dict[Shape, float] = {}
        self._is_probing = True

    @property
    def limit(self) -> int:
        """Returns how many calls may be in flight now."""
        return max(1, int(self._limit * (PROBE_SHARE if self._is_probing else 1.0)))

    @property
    def in_flight(self) -> int:
        """Returns how many calls are in flight; above the limit while it shrinks."""
        return self._in_flight

    def sent(self, shape: Shape, now: float) -> Ticket:
        """Notes a call that goes out."""
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        return Ticket(shape=shape, sent=now, epoch=self._epoch)

    def answered(self, ticket: Ticket, now: float) -> None:
        """Notes an answer; the last one of a window moves the limit."""
        self._in_flight -= 1
        if ticket.epoch != self._epoch:
            return
        self._window.append((ticket.shape, now - ticket.sent))
        if len(self._window) < max(MIN_SAMPLES, self.limit):
            return
        if self._is_probing:
            self._end_probe()
        else:
            self._follow(self._load())
        self._begin_window()

    def refused(self, ticket: Ticket) -> None:
        """Notes a call that was refused for load, or not answered in time.

        Calls of one limit shrink it once. It is then no higher than what the replica still holds of ours;
        where it holds nothing, the refusal says nothing about our share.
        """
        self._in_flight -= 1
        if self._in_flight == 0:
            return
        if ticket.epoch == self._epoch:
            self._limit = max(1.0, self._limit * DECREASE)
            self._slow_above = self._limit
            self._num_calm = 0
            self._begin_window()
        self._limit = min(self._limit, float(self._in_flight))

    def gone(self, ticket: Ticket) -> None:  # noqa: ARG002 - each call ends with its ticket
        """Notes a call that ended and tells nothing about load: cancelled, failed or cut off."""
        self._in_flight -= 1

    def restart(self) -> None:
        """Begins again at one, after the replica was away; comes back fast to where it was."""
        self._slow_above = self._limit
        self._limit = 1.0
        self._probe_after = FIRST_PROBE
        self._begin_window()

    def _begin_window(self) -> None:
        self._epoch += 1
        self._window.clear()
        self._most_in_flight = self._in_flight

    def _end_probe(self) -> None:
        self._unloaded = _means(self._window)
        self._is_probing = False
        self._num_windows = 0
        self._highest = self._limit

    def _load(self) -> float:
        """Returns how many times the unloaded latency the window's calls took."""
        known = [
            latency / max(self._unloaded[shape], 1e-9)
            for shape, latency in self._window
            if shape in self._unloaded
        ]
        load = sum(known) / len(known) if known else 1.0
        new = {shape: mean / max(load, 1.0) for shape, mean in _means(self._window).items()}
        self._unloaded = new | self._unloaded
        if load < 1.0:  # half-way: one window is a noisy measure
            faster = (1.0 + load) / 2
            self._unloaded = {shape: mean * faster for shape, mean in self._unloaded.items()}
        return load

    def _follow(self, load: float) -> None:
        gradient = min(1.0, max(MIN_GRADIENT, TOLERANCE / load))
        change = self._limit * gradient + math.sqrt(self._limit) - self._limit
        if change > 0:
            change = self._growth(change)
        self._limit = min(max(self._limit + change, 1.0), self._max_limit)
        self._highest = max(self._highest, self._limit)
        self._num_windows += 1
        is_squeezed = self._limit < self._highest / 2 and self._num_windows >= SQUEEZED_WINDOWS
        is_due = self._num_windows >= self._probe_after
        if is_due:
            self._probe_after = min(PROBE_EVERY, 2 * self._probe_after)
        self._is_probing = is_due or is_squeezed or load < FASTER

    def _growth(self, wanted: float) -> float:
        self._num_calm += 1
        if self._num_calm >= CALM_WINDOWS:
            self._slow_above = math.inf
        if self._most_in_flight < self._limit / 2:  # the caller asks for less than it may
            return 0.0
        return min(wanted, 1.0) if self._limit >= self._slow_above else wanted


def _means(window: Sequence[tuple[Shape, float]]) -> dict[Shape, float]:
    latencies: defaultdict[Shape, list[float]] = defaultdict(list)
    for shape, latency in window:
        latencies[shape].append(latency)
    return {shape: sum(of_shape) / len(of_shape) for shape, of_shape in latencies.items()}
