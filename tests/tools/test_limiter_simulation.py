"""What the limiter makes of servers, on a virtual clock: the claims of docs/concurrency.md."""

from functools import cache

import pytest

from tools.limiter_scenarios import SCENARIOS, capacity
from tools.limiter_simulation import Answer, Phase, Scenario, Trace, simulate

pytestmark = pytest.mark.timeout(120)  # seconds of arithmetic, on a busy machine tens of them

# In service times: twice what the server works on, and a root of that, are out.
MOST_QUEUED = {1: 8.0, 4: 3.5, 16: 2.5, 64: 2.5}


@cache
def traced(name: str) -> Trace:
    return simulate(SCENARIOS[name])


def queued_p95(trace: Trace, start_s: float, end_s: float) -> float:
    return trace.quantile(0.95, of=queued_s, start_s=start_s, end_s=end_s)


def queued_s(answer: Answer) -> float:
    return answer.queued_s


def recovery_s(trace: Trace, *, after_s: float, rate: float) -> float:
    """Returns how long after a time a whole second had 95 % of a rate."""
    starts = (after_s + step / 10 for step in range(600))
    return next(s for s in starts if trace.throughput(s, s + 1) >= 0.95 * rate) - after_s


def test_same_seed_gives_the_same_run():
    scenario = Scenario(replicas=[[Phase()]], end_s=5, seed=3)
    assert simulate(scenario) == simulate(scenario)


@pytest.mark.parametrize("num_workers", MOST_QUEUED)
@pytest.mark.parametrize("spread", [0.0, 0.2, 0.6])
def test_server_that_never_refuses_is_kept_busy_with_a_short_queue(num_workers: int, spread: float):
    phase = Phase(num_workers=num_workers, spread=spread)
    trace = simulate(Scenario(replicas=[[phase]], end_s=80))
    assert trace.throughput(5, 80) >= 0.96 * capacity(phase)
    mean_service_s = num_workers / capacity(phase)
    assert queued_p95(trace, 40, 80) <= MOST_QUEUED[num_workers] * mean_service_s


def test_fixed_number_of_calls_queues_ten_times_as_long():
    limited, fixed = traced("queue"), traced("queue, fixed at 256")
    assert queued_p95(fixed, 5, 60) > 8 * queued_p95(limited, 5, 60)
    assert limited.throughput(5, 60) >= 0.99 * fixed.throughput(5, 60)


def test_fewer_workers_shrink_the_queue_within_seconds_and_more_are_used_within_three():
    trace = traced("step")
    assert queued_p95(trace, 45, 80) < 0.3
    assert trace.throughput(45, 80) >= 0.95 * capacity(Phase(num_workers=4))
    assert recovery_s(trace, after_s=80, rate=capacity(Phase(num_workers=32))) <= 3


def test_slower_service_keeps_its_throughput():
    trace = traced("slowdown")
    assert trace.throughput(45, 80) >= 0.95 * capacity(Phase(service_s=0.4))
    assert recovery_s(trace, after_s=80, rate=capacity(Phase())) <= 3
    assert queued_p95(trace, 85, 120) < 0.25


def test_bounded_queue_is_used_with_few_refusals():
    trace = traced("bounded queue")
    assert trace.throughput(5, 60) >= 0.97 * capacity(Phase())
    assert len(trace.refusals) <= 0.005 * len(trace.answers)


def test_storm_of_refusals_neither_spins_nor_sticks():
    trace = traced("storms")
    for start_s, end_s in ((20, 30), (50, 60)):
        assert sum(start_s <= at_s < end_s for at_s, _ in trace.refusals) <= 30
        assert recovery_s(trace, after_s=end_s, rate=capacity(Phase())) <= 7


def test_slow_replica_costs_its_own_share_only():
    trace = traced("slow replica")
    expected = 2 * capacity(Phase()) + capacity(Phase(service_s=1.0))
    assert trace.throughput(30, 60) >= 0.97 * expected


def test_second_calls_end_a_stage_early_where_a_replica_hangs():
    plain, hedged = traced("stuck replica"), traced("stuck replica, hedged")
    end_s = max(answer.at_s for answer in hedged.answers)
    assert max(answer.at_s for answer in plain.answers) > 60
    assert end_s < 30
    assert len(hedged.hedges) <= 0.05 * hedged.num_calls[0]
    assert len(hedged.answers) == len(plain.answers) == SCENARIOS["stuck replica"].num_calls
