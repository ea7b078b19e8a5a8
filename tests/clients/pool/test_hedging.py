from align2llava.clients.pool.hedging import MIN_LATENCIES, Hedging

SHAPE = ("score", 6)


def test_nothing_is_late_before_enough_was_seen():
    hedging = Hedging()
    for _ in range(MIN_LATENCIES - 1):
        hedging.answered(SHAPE, 1.0)
    assert hedging.delay_s(SHAPE) is None
    hedging.answered(SHAPE, 1.0)
    assert hedging.delay_s(SHAPE) is not None
    assert hedging.delay_s(("review", 6)) is None


def test_late_is_what_takes_longer_than_95_of_100_of_the_latest():
    hedging = Hedging()
    for _ in range(1000):
        hedging.answered(SHAPE, 99.0)
    for latency in range(200):
        hedging.answered(SHAPE, 1.0 if latency < 150 else float(latency))
    assert hedging.delay_s(SHAPE) == 190.0


def test_a_call_is_not_late_before_twice_the_median():
    hedging = Hedging()
    for latency in range(100):
        hedging.answered(SHAPE, 10.0 + latency / 100)
    assert hedging.delay_s(SHAPE) == 2 * 10.5


def test_second_calls_are_one_in_twenty_at_most():
    hedging = Hedging()
    assert not hedging.spend()
    num_spent = 0
    for _ in range(1000):
        hedging.sent()
        num_spent += hedging.spend()
    assert 45 <= num_spent <= 50
