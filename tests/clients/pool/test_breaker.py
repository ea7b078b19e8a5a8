import math

from align2llava.clients.pool.breaker import FAILURES_TO_OPEN, Breaker


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(at, is_trial=breaker.sent(), jitter=0.0)
    return breaker


def test_it_opens_after_failures_in_a_row():
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.failed(0.0, is_trial=breaker.sent(), jitter=0.0)
        breaker.answered()
    assert breaker.is_closed
    assert not opened().is_closed


def test_one_trial_passes_after_a_while_and_its_answer_closes():
    breaker = opened(at=5.0)
    assert 5.0 < breaker.opens_at() < 6.0
    assert breaker.sent()
    assert breaker.opens_at() == math.inf
    breaker.answered()
    assert breaker.is_closed
    assert breaker.opens_at() == 0.0


def test_each_trial_that_fails_opens_it_for_longer():
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(8):
        now = breaker.opens_at()
        breaker.failed(now, is_trial=breaker.sent(), jitter=0.0)
        pauses.append(breaker.opens_at() - now)
    assert pauses == sorted(pauses)
    assert pauses[-1] <= 5.0


def test_calls_sent_before_it_opened_do_not_prolong_it():
    breaker = opened()
    opens_at = breaker.opens_at()
    breaker.failed(99.0, is_trial=False, jitter=0.0)
    assert breaker.opens_at() == opens_at


def test_trial_that_was_cancelled_makes_way_for_another():
    breaker = opened()
    breaker.abandoned(is_trial=breaker.sent())
    assert breaker.opens_at() < math.inf
