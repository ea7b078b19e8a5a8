"""The limit follows latencies and refusals; what it makes of a server is in tests/tools."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from align2llava.clients.pool.limit import (
    CALM_WINDOWS,
    DECREASE,
    START_LIMIT,
    AdaptiveLimit,
    Ticket,
)

SHAPE = ("score", 6)


class Clock:
    """Sends and answers a window of calls at a time; each call takes what `latency_s` says.

    It does not stop within a probe.
    """

    def __init__(self, limit: AdaptiveLimit) -> None:
        self.limit = limit
        self.now = 0.0

    def send(self, num_calls: int) -> list[Ticket]:
        return [self.limit.sent(SHAPE, self.now) for _ in range(num_calls)]

    def windows(self, num_windows: int, latency_s: Callable[[int], float]) -> None:
        while num_windows > 0 or self.limit._is_probing:
            num_windows -= 1
            in_flight = max(4, self.limit.limit)
            tickets = self.send(in_flight)
            self.now += latency_s(in_flight)
            for ticket in tickets:
                self.limit.answered(ticket, self.now)


def flat(_in_flight: int) -> float:
    return 0.1


def queueing(capacity: int) -> Callable[[int], float]:
    return lambda in_flight: 0.1 * max(1.0, in_flight / capacity)


@pytest.fixture
def clock() -> Clock:
    return Clock(AdaptiveLimit(100))


def test_it_begins_low_and_measures_the_unloaded_latency_first(clock: Clock):
    assert clock.limit.limit == START_LIMIT / 4
    clock.windows(1, flat)
    assert clock.limit.limit == START_LIMIT


def test_it_grows_to_its_bound_while_latency_stays(clock: Clock):
    clock.windows(30, flat)
    assert clock.limit.limit == 100


def test_bound_below_the_start_holds():
    limit = AdaptiveLimit(1)
    assert limit.limit == 1
    clock = Clock(limit)
    clock.windows(10, flat)
    assert limit.limit == 1


def test_queue_of_a_server_that_never_refuses_is_found_out(clock: Clock):
    clock.windows(40, queueing(10))
    assert 20 <= clock.limit.limit <= 28  # twice its capacity, and a root


def test_calls_sent_under_an_older_limit_do_not_count_twice(clock: Clock):
    clock.windows(1, flat)
    late = clock.send(8)
    clock.windows(1, flat)
    before = clock.limit.limit
    clock.now += 50
    for ticket in late:
        clock.limit.answered(ticket, clock.now)
    assert clock.limit.limit == before


def test_shapes_are_measured_apart(clock: Clock):
    """Reviews are short and rewrites long: no load, however they mix."""
    for _ in range(30):
        tickets = [clock.limit.sent(("rewrite", 6), clock.now) for _ in range(clock.limit.limit)]
        clock.now += 0.1
        for ticket in [clock.limit.sent(("review", 6), clock.now - 0.1) for _ in range(8)]:
            clock.limit.answered(ticket, clock.now)
        clock.now += 0.9
        for ticket in tickets:
            clock.limit.answered(ticket, clock.now)
    assert clock.limit.limit > 50


def test_caller_that_asks_for_little_does_not_raise_the_limit(clock: Clock):
    clock.windows(5, flat)
    before = clock.limit.limit
    for _ in range(40):
        for ticket in clock.send(2):
            clock.now += 0.1
            clock.limit.answered(ticket, clock.now)
    assert clock.limit.limit == before


def test_refusals_of_one_limit_shrink_it_once(clock: Clock):
    clock.windows(6, flat)
    before = clock.limit.limit
    tickets = clock.send(before)
    for ticket in tickets[:3]:
        clock.limit.refused(ticket)
    assert clock.limit.limit == int(before * DECREASE)


def test_refused_calls_leave_no_more_places_than_the_server_holds(clock: Clock):
    clock.windows(6, flat)
    tickets = clock.send(clock.limit.limit)
    for ticket in tickets[3:]:
        clock.limit.refused(ticket)
    assert clock.limit.limit == 3


def test_refusal_with_nothing_else_there_says_nothing_of_our_share(clock: Clock):
    clock.windows(6, flat)
    before = clock.limit.limit
    clock.limit.refused(clock.send(1)[0])
    assert clock.limit.limit == before


def test_after_a_refusal_it_comes_back_by_one_until_it_is_calm(clock: Clock):
    clock.windows(8, flat)
    tickets = clock.send(clock.limit.limit)
    clock.limit.refused(tickets[0])
    for ticket in tickets[1:]:
        clock.limit.answered(ticket, clock.now + 0.1)
    seen = [clock.limit.limit]
    for _ in range(CALM_WINDOWS + 2):
        clock.windows(1, flat)
        seen.append(clock.limit.limit)
    steps = [after - before for before, after in pairwise(seen)]
    assert set(steps[: CALM_WINDOWS - 1]) == {1}
    assert steps[-1] > 1


def test_restart_begins_at_one_and_comes_back_fast(clock: Clock):
    clock.windows(12, flat)
    before = clock.limit.limit
    clock.limit.restart()
    assert clock.limit.limit == 1
    clock.windows(12, flat)
    assert clock.limit.limit > before / 2


def test_server_that_became_slower_is_measured_anew(clock: Clock):
    clock.windows(20, queueing(16))
    before = clock.limit.limit
    clock.windows(20, lambda in_flight: 4 * queueing(16)(in_flight))
    assert clock.limit.limit > 0.8 * before


def test_server_that_became_faster_is_measured_anew(clock: Clock):
    clock.windows(20, lambda in_flight: 4 * queueing(16)(in_flight))
    before = clock.limit.limit
    clock.windows(20, queueing(16))
    assert clock.limit.limit < 1.2 * before


def test_calls_that_tell_nothing_give_their_place_back(clock: Clock):
    for ticket in clock.send(5):
        clock.limit.gone(ticket)
    assert clock.limit.in_flight == 0
