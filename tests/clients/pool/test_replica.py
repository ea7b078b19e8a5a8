import math

import pytest

from align2llava.clients.errors import (
    ClientError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ServerFaultError,
    UnavailableError,
)
from align2llava.clients.pool.breaker import FAILURES_TO_OPEN
from align2llava.clients.pool.replica import Replica, least_loaded

SHAPE = ("score", 6)


@pytest.fixture
def replica() -> Replica:
    return Replica("grpc://a:1", max_in_flight=16)


def fail(replica: Replica, error: ClientError, now: float = 0.0) -> None:
    replica.failed(replica.take(SHAPE, now), error, now, jitter=0.5)


def test_it_is_full_at_its_limit_and_an_answer_makes_room(replica: Replica):
    permits = [replica.take(SHAPE, 0.0) for _ in range(replica.limit)]
    assert replica.opens_at() == math.inf
    replica.answered(permits[0], 1.0)
    assert replica.opens_at() == 0.0


def test_refusal_with_nothing_in_flight_pauses_as_long_as_it_was_asked_for(replica: Replica):
    fail(replica, OverloadedError("full", retry_after_s=7.0), now=100.0)
    assert 107.0 <= replica.opens_at() < 108.0


def test_refusal_beside_calls_in_flight_does_not_pause(replica: Replica):
    replica.take(SHAPE, 0.0)
    fail(replica, OverloadedError("full", retry_after_s=7.0))
    assert replica.limit == 1  # the smaller limit is the pause
    assert replica.opens_at() == math.inf


def test_refusals_in_a_row_pause_ever_longer(replica: Replica):
    now, pauses = 0.0, []
    for _ in range(9):
        fail(replica, OverloadedError("full"), now=now)
        pauses.append(replica.opens_at() - now)
        now = replica.opens_at()
    assert pauses == pytest.approx(sorted(pauses))
    assert pauses[0] < 0.2
    assert pauses[-1] > 2.0


@pytest.mark.parametrize("error", [UnavailableError, ServerFaultError, DeadlineError])
def test_failures_in_a_row_open_the_circuit(replica: Replica, error: type[ClientError]):
    for _ in range(FAILURES_TO_OPEN):
        fail(replica, error("x"), now=50.0)
    assert replica.opens_at() > 50.0


def test_refused_request_shows_that_the_replica_is_there(replica: Replica):
    for _ in range(2 * FAILURES_TO_OPEN):
        fail(replica, InvalidRequestError("x"), now=50.0)
        fail(replica, UnavailableError("x"), now=50.0)
    assert replica.opens_at() == 0.0


def test_replica_that_comes_back_begins_at_one(replica: Replica):
    for _ in range(FAILURES_TO_OPEN):
        fail(replica, UnavailableError("x"))
    trial = replica.take(SHAPE, replica.opens_at())
    assert trial.is_trial
    assert replica.opens_at() == math.inf
    replica.answered(trial, 1.0)
    assert replica.limit == 1
    assert replica.opens_at() == 0.0


def test_cancelled_call_gives_its_place_back(replica: Replica):
    replica.dropped(replica.take(SHAPE, 0.0))
    assert replica.in_flight == 0


def test_least_loaded_is_chosen_and_equals_take_turns():
    replicas = [Replica(f"grpc://{name}:1", max_in_flight=16) for name in "abc"]
    taken = []
    for now in range(6):
        chosen = least_loaded(replicas, float(now))
        assert chosen is not None
        chosen.take(SHAPE, float(now))
        taken.append(chosen.url)
    assert sorted(taken[:3]) == sorted(taken[3:]) == [replica.url for replica in replicas]
    assert least_loaded(replicas, 9.0) is None


def test_expelled_replica_is_never_chosen(replica: Replica):
    replica.is_expelled = True
    assert least_loaded([replica], 1e9) is None
