import pytest

from align2llava.services.core.backlog import Backlog
from align2llava.services.errors import OverloadedError


def measured(*, max_tokens: float = 1000) -> Backlog:
    """A backlog that has seen 10 items of 100 tokens take 1 s."""
    backlog = Backlog(max_tokens=max_tokens)
    backlog.started(num_items=10, num_tokens=1000, now_s=0.0)
    backlog.finished(num_items=10, num_tokens=1000, device_s=1.0, now_s=1.0)
    return backlog


def test_nothing_is_ahead_of_the_first_request():
    assert Backlog(max_tokens=1).tokens_ahead(5.0) == 0


def test_items_that_wait_count_with_the_mean_tokens_of_an_item():
    backlog = measured()
    with backlog.hold(3):
        assert backlog.tokens_ahead(1.0) == pytest.approx(300)
    assert backlog.tokens_ahead(1.0) == 0


def test_running_batch_counts_twice_by_what_is_left_of_it():
    backlog = measured()
    with backlog.hold(8):
        backlog.started(num_items=4, num_tokens=500, now_s=2.0)
        assert backlog.tokens_ahead(2.0) == pytest.approx(2 * 500 + 4 * 100)
        assert backlog.tokens_ahead(2.2) == pytest.approx(2 * 300 + 4 * 100)


def test_overdue_batch_never_hides_what_waits_behind_it():
    backlog = measured()
    with backlog.hold(8):
        backlog.started(num_items=4, num_tokens=500, now_s=2.0)
        assert backlog.tokens_ahead(99.0) == pytest.approx(4 * 100)


def test_batch_launched_behind_another_counts_whole():
    backlog = measured()
    with backlog.hold(8) as held:
        backlog.started(num_items=4, num_tokens=400, now_s=2.0)
        backlog.started(num_items=4, num_tokens=400, now_s=2.1)
        assert backlog.tokens_ahead(2.2) == pytest.approx(2 * (800 - 200))
        backlog.finished(num_items=4, num_tokens=400, device_s=0.4, now_s=2.4)
        held.release(4)
        assert backlog.tokens_ahead(2.4) == pytest.approx(2 * 400)


def test_request_too_far_behind_is_refused_with_the_figures():
    backlog = measured(max_tokens=250)
    with backlog.hold(2):
        backlog.check(now_s=1.0, retry_after_ms=50)
    with backlog.hold(3), pytest.raises(OverloadedError, match=r"300 .* limit is 250") as refused:
        backlog.check(now_s=1.0, retry_after_ms=70)
    assert refused.value.retry_after_ms == 70


def test_groups_that_are_done_count_no_more_while_their_request_goes_on():
    backlog = measured()
    with backlog.hold(10) as held:
        held.release(4)
        assert backlog.tokens_ahead(1.0) == pytest.approx(600)


def test_room_is_given_back_after_an_error():
    backlog = measured()

    def fail() -> None:
        with backlog.hold(5) as held:
            held.release(2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert backlog.tokens_ahead(1.0) == 0


def test_estimates_follow_the_last_batches():
    backlog = measured()
    for _ in range(40):
        backlog.started(num_items=1, num_tokens=7, now_s=3.0)
        backlog.finished(num_items=1, num_tokens=7, device_s=0.1, now_s=3.0)
    with backlog.hold(2):
        assert backlog.tokens_ahead(3.0) == pytest.approx(14)
