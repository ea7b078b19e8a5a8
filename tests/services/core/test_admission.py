import asyncio

import pytest

from align2llava.services.core.admission import Admission
from align2llava.services.errors import (
    DeadlineError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
)


def test_full_door_refuses_at_once_and_says_when_to_come_again():
    door = Admission(max_items=3, max_bytes=100)
    with door.admit(num_items=2, num_bytes=1):
        with pytest.raises(OverloadedError, match="the limit is 3") as refused:
            door.admit(num_items=2, num_bytes=1).__enter__()
        assert refused.value.retry_after_ms >= 50
    with door.admit(num_items=3, num_bytes=1):
        assert door.num_items == 3
    assert door.num_items == 0


def test_request_that_is_not_parsed_yet_is_refused_where_no_item_finds_room():
    door = Admission(max_items=2, max_bytes=100)
    with door.admit(num_items=1, num_bytes=100):
        door.refuse_early()
    with door.admit(num_items=2, num_bytes=1), pytest.raises(OverloadedError, match="limit is 2"):
        door.refuse_early()
    door.close()
    with pytest.raises(UnavailableError):
        door.refuse_early()


def test_bytes_are_bounded_too():
    door = Admission(max_items=10, max_bytes=100)
    with door.admit(num_items=1, num_bytes=60), pytest.raises(OverloadedError, match="bytes wait"):
        door.admit(num_items=1, num_bytes=60).__enter__()


def test_request_that_never_fits_is_too_large():
    door = Admission(max_items=3, max_bytes=100)
    with pytest.raises(TooLargeError):
        door.admit(num_items=4, num_bytes=1).__enter__()
    with pytest.raises(TooLargeError):
        door.admit(num_items=1, num_bytes=101).__enter__()


def test_room_is_given_back_after_an_error():
    door = Admission(max_items=1, max_bytes=1)
    with pytest.raises(RuntimeError), door.admit(num_items=1, num_bytes=1):
        raise RuntimeError
    assert door.num_items == 0


def test_retry_grows_with_what_waits_and_stays_bounded():
    door = Admission(max_items=10_000, max_bytes=100)
    for _ in range(50):
        door.observe(num_items=1, elapsed_ms=100)
    with door.admit(num_items=10, num_bytes=1):
        assert 400 <= door.retry_after_ms() <= 500
    with door.admit(num_items=10_000, num_bytes=1):
        assert door.retry_after_ms() == 10_000


async def test_closed_door_refuses_and_drains():
    door = Admission(max_items=2, max_bytes=2)
    with door.admit(num_items=1, num_bytes=1):
        door.close()
        with pytest.raises(UnavailableError):
            door.admit(num_items=1, num_bytes=1).__enter__()
        drained = asyncio.create_task(door.drained())
        await asyncio.sleep(0)
        assert not drained.done()
    await drained


def test_changes_are_reported():
    seen: list[int] = []
    door = Admission(max_items=5, max_bytes=5, on_change=seen.append)
    with door.admit(num_items=2, num_bytes=1):
        pass
    assert seen == [2, 0]


def miss(door: Admission, kind: str = "", *, error: type[BaseException] = DeadlineError) -> None:
    with pytest.raises(error), door.admit(num_items=1, num_bytes=0, kind=kind):
        raise error("late")


def answer(door: Admission, kind: str = "") -> None:
    with door.admit(num_items=1, num_bytes=0, kind=kind):
        pass


def test_caller_who_waited_long_for_nothing_makes_a_doubt_which_an_answer_of_its_kind_ends():
    door = Admission(max_items=9, max_bytes=9, patience_s=0.0)
    answer(door, "review")
    miss(door, "review")
    assert door.is_doubted
    answer(door, "rewrite")
    assert door.is_doubted
    answer(door, "review")
    assert not door.is_doubted
    miss(door, error=asyncio.CancelledError)
    assert door.is_doubted
    door.trust()
    assert not door.is_doubted


def test_caller_who_did_not_wait_long_makes_no_doubt():
    door = Admission(max_items=9, max_bytes=9)
    miss(door)
    assert not door.is_doubted


def test_late_caller_makes_no_doubt_where_another_was_answered_meanwhile():
    door = Admission(max_items=9, max_bytes=9, patience_s=0.0)
    late = door.admit(num_items=1, num_bytes=0)
    late.__enter__()
    answer(door)
    error = DeadlineError("late")
    assert not late.__exit__(DeadlineError, error, None)
    assert not door.is_doubted


def test_bodies_being_read_take_room_and_leave_it():
    door = Admission(max_items=4, max_bytes=100)
    with door.receive() as take:
        take(60)
        with pytest.raises(OverloadedError, match="60 bytes wait and 41 came"):
            take(41)
        with pytest.raises(OverloadedError), door.admit(num_items=1, num_bytes=50):
            pass
        take(40)
    with door.admit(num_items=1, num_bytes=100):
        pass
