"""Simulates a driver and its replicas on a virtual clock: the same limiter, breaker and hedging, no network.

Seeded and deterministic. A server works on a few calls at once, first come first served, and queues or
refuses the rest. The driver has `num_calls` to make and would make `demand` of them at once.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from align2llava.clients.errors import OverloadedError
from align2llava.clients.pool.hedging import Hedging
from align2llava.clients.pool.limit import Shape
from align2llava.clients.pool.replica import Permit, Replica, least_loaded

SHAPE: Shape = ("score", 6)
SAMPLE_EVERY_S = 0.25
REFUSAL_S = 0.002  # how long a refusal takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How a server behaves from `start_s` on; `max_queue` None = it queues without end."""

    start_s: float = 0.0
    num_workers: int = 16
    service_s: float = 0.1
    spread: float = 0.2  # sigma of the log of the service time
    max_queue: int | None = None
    refuses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A simulated run: one list of phases for each replica; `limiter` False = always `max_in_flight` calls."""

    replicas: Sequence[Sequence[Phase]]
    end_s: float
    max_in_flight: int = 256
    hedges: bool = False
    limiter: bool = True
    num_calls: int = 10**9
    demand: int = 10**9
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One call that was answered; `queued_s` = it waited so long at the server."""

    at_s: float
    replica: int
    latency_s: float
    queued_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What happened: answers, times of refusals by replica, and limits as (time, replica, limit)."""

    answers: list[Answer] = field(default_factory=list)
    refusals: list[tuple[float, int]] = field(default_factory=list)
    limits: list[tuple[float, int, int]] = field(default_factory=list)
    hedges: list[float] = field(default_factory=list)
    num_calls: list[int] = field(default_factory=lambda: [0])

    def throughput(self, start_s: float, end_s: float) -> float:
        """Returns answers per second between two times."""
        return sum(start_s <= one.at_s < end_s for one in self.answers) / (end_s - start_s)

    def quantile(
        self, share: float, *, of: Callable[[Answer], float], start_s: float, end_s: float
    ) -> float:
        """Returns the quantile of a figure of the answers between two times."""
        values = sorted(of(one) for one in self.answers if start_s <= one.at_s < end_s)
        return values[int(share * (len(values) - 1))]


class FixedReplica(Replica):
    """A replica that always takes `max_in_flight` calls: what the limiter is compared with."""

    @property
    def limit(self) -> int:
        """Returns the fixed number."""
        return self._fixed

    def __init__(self, url: str, *, max_in_flight: int) -> None:
        super().__init__(url, max_in_flight=max_in_flight)
        self._fixed = max_in_flight


@dataclass(eq=False, slots=True, kw_only=True)
class _Call:
    """One call of the driver; its attempts are one, or two where it was hedged."""

    started: float
    attempts: list["_Attempt"] = field(default_factory=list)
    is_done: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class _Attempt:
    call: _Call
    replica: int
    permit: Permit
    sent: float
    began: float = 0.0
    is_over: bool = False


class _Server:
    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases = phases
        self.queue: deque[_Attempt] = deque()
        self.num_working = 0

    def phase(self, now: float) -> Phase:
        return [phase for phase in self._phases if phase.start_s <= now][-1]

    def refuses(self, now: float) -> bool:
        phase = self.phase(now)
        is_busy = self.num_working >= phase.num_workers
        is_full = phase.max_queue is not None and len(self.queue) >= phase.max_queue
        return phase.refuses or (is_busy and is_full)


class Simulation:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._random = random.Random(scenario.seed)  # noqa: S311 - a simulation
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._num_events = 0
        self._trace = Trace()
        self._hedging = Hedging()
        self._num_open = 0  # calls begun and not answered
        self._late: deque[_Call] = deque()
        self._servers = [_Server(phases) for phases in scenario.replicas]
        kind = Replica if scenario.limiter else FixedReplica
        self._replicas = [
            kind(f"sim:{index}", max_in_flight=scenario.max_in_flight)
            for index in range(len(scenario.replicas))
        ]

    def run(self) -> Trace:
        """Returns what happened up to the scenario's end."""
        self._sample()
        for phases in self._scenario.replicas:
            for phase in phases:
                self._at(phase.start_s, self._work)
        while self._events and self._events[0][0] <= self._scenario.end_s:
            self._now, _, act = heapq.heappop(self._events)
            act()
            self._send()
        return self._trace

    def _at(self, when: float, act: Callable[[], None]) -> None:
        self._num_events += 1
        heapq.heappush(self._events, (when, self._num_events, act))

    def _sample(self) -> None:
        for index, replica in enumerate(self._replicas):
            self._trace.limits.append((self._now, index, replica.limit))
        self._at(self._now + SAMPLE_EVERY_S, lambda: None)
        self._at(self._now + SAMPLE_EVERY_S, self._sample)

    def _send(self) -> None:
        while self._has_work() and (replica := least_loaded(self._replicas, self._now)) is not None:
            call = _Call(started=self._now)
            self._num_open += 1
            self._trace.num_calls[0] += 1
            self._hedging.sent()
            self._attempt(call, replica)
            late_s = self._hedging.delay_s(SHAPE) if self._scenario.hedges else None
            if late_s is not None:
                self._at(self._now + late_s, lambda call=call: self._late.append(call))
        while not self._has_work() and self._late and self._hedge(self._late[0]):
            self._late.popleft()
        opens_at = min(replica.opens_at() for replica in self._replicas)
        if self._now < opens_at < self._scenario.end_s:
            self._at(opens_at, lambda: None)

    def _has_work(self) -> bool:
        is_wanted = self._num_open < self._scenario.demand
        return is_wanted and self._trace.num_calls[0] < self._scenario.num_calls

    def _attempt(self, call: _Call, replica: Replica) -> None:
        index = self._replicas.index(replica)
        permit = replica.take(SHAPE, self._now)
        attempt = _Attempt(call=call, replica=index, permit=permit, sent=self._now)
        call.attempts.append(attempt)
        server = self._servers[index]
        if server.refuses(self._now):
            self._at(self._now + REFUSAL_S, lambda: self._refuse(attempt))
            return
        server.queue.append(attempt)
        self._work()

    def _hedge(self, call: _Call) -> bool:
        """Returns whether a late call is settled: answered, refused, or asked for a second time."""
        if call.is_done or call.attempts[-1].is_over:
            return True
        others = [r for i, r in enumerate(self._replicas) if i != call.attempts[0].replica]
        other = least_loaded(others, self._now)
        if other is None or not self._hedging.spend():
            return False
        self._trace.hedges.append(self._now)
        self._attempt(call, other)
        return True

    def _work(self) -> None:
        for server in self._servers:
            phase = server.phase(self._now)
            while server.queue and server.num_working < phase.num_workers:
                attempt = server.queue.popleft()
                if attempt.is_over:
                    continue
                server.num_working += 1
                attempt.began = self._now
                service_s = phase.service_s * self._random.lognormvariate(0.0, phase.spread)
                self._at(self._now + service_s, lambda one=attempt: self._answer(one))

    def _answer(self, attempt: _Attempt) -> None:
        self._servers[attempt.replica].num_working -= 1
        call = attempt.call
        if not call.is_done:
            call.is_done = attempt.is_over = True
            self._num_open -= 1
            self._replicas[attempt.replica].answered(attempt.permit, self._now)
            self._hedging.answered(SHAPE, self._now - attempt.sent)
            for other in call.attempts:
                if not other.is_over:  # cancelled; what the server began, it ends
                    other.is_over = True
                    self._replicas[other.replica].dropped(other.permit)
            answer = Answer(
                at_s=self._now,
                replica=attempt.replica,
                latency_s=self._now - call.started,
                queued_s=attempt.began - attempt.sent,
            )
            self._trace.answers.append(answer)
        self._work()

    def _refuse(self, attempt: _Attempt) -> None:
        if attempt.is_over:
            return
        attempt.is_over = True
        self._num_open -= 1
        self._trace.num_calls[0] -= 1  # it is asked again
        self._trace.refusals.append((self._now, attempt.replica))
        error = OverloadedError("full")
        self._replicas[attempt.replica].failed(
            attempt.permit, error, self._now, jitter=self._random.random()
        )


def simulate(scenario: Scenario) -> Trace:
    """Returns what happens in a scenario."""
    return Simulation(scenario).run()
