"""Retries follow the code table, wait at least as long as asked, and end with the call's time."""

import asyncio

import pytest

from align2llava.clients.errors import (
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ServerFaultError,
    UnavailableError,
    error_of,
)
from align2llava.clients.retry import MAX_DELAY_S, delay_s, may_retry, with_retries
from align2llava.clients.wire.codes import Code


class Script:
    """A call that fails with the given errors in turn, then returns its number."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.num_calls = 0

    async def __call__(self, left_s: float) -> int:
        assert left_s > 0
        self.num_calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.num_calls


@pytest.mark.parametrize(
    ("code", "is_retried"),
    [
        (Code.INVALID_REQUEST, False),
        (Code.UNAUTHENTICATED, False),
        (Code.IMAGE_NEEDED, False),
        (Code.TOO_LARGE, False),
        (Code.IMAGE_INVALID, False),
        (Code.OVERLOADED, True),
        (Code.INTERNAL, True),
        (Code.UNAVAILABLE, True),
        (Code.DEADLINE_EXCEEDED, False),
    ],
)
def test_table_decides(code: Code, is_retried: bool):
    assert may_retry(error_of(code, "x"), num_internal=1) is is_retried


async def test_unavailable_is_tried_until_it_answers():
    script = Script(UnavailableError("a"), OverloadedError("b"), UnavailableError("c"))
    assert await with_retries(script, timeout_s=9) == 4


async def test_internal_is_tried_at_most_twice_more():
    script = Script(*[ServerFaultError("x") for _ in range(5)])
    with pytest.raises(ServerFaultError):
        await with_retries(script, timeout_s=9)
    assert script.num_calls == 3


async def test_refusal_is_not_retried():
    script = Script(InvalidRequestError("x"))
    with pytest.raises(InvalidRequestError):
        await with_retries(script, timeout_s=9)
    assert script.num_calls == 1


async def test_wait_beyond_the_time_given_raises_at_once():
    script = Script(OverloadedError("full", retry_after_s=60))
    with pytest.raises(OverloadedError):
        await with_retries(script, timeout_s=5)
    assert script.num_calls == 1


async def test_no_time_is_a_deadline():
    with pytest.raises(DeadlineError, match="within 0 s"):
        await with_retries(Script(), timeout_s=0)


async def test_attempt_cut_by_the_end_of_the_time_tells_what_failed_before_it():
    errors = [UnavailableError("refused"), DeadlineError("no answer")]

    async def goes_away(left_s: float) -> int:
        await asyncio.sleep(0.6 * left_s)
        raise errors.pop(0)

    with pytest.raises(UnavailableError, match="refused"):
        await with_retries(goes_away, timeout_s=1)


async def test_attempt_that_had_most_of_the_time_tells_itself():
    script = Script(UnavailableError("refused"), DeadlineError("no answer"))
    with pytest.raises(DeadlineError, match="no answer"):
        await with_retries(script, timeout_s=9)


def test_delay_grows_to_a_ceiling_and_never_undercuts_the_service():
    assert delay_s(0, retry_after_s=0, jitter=1) < delay_s(3, retry_after_s=0, jitter=1)
    assert delay_s(10_000, retry_after_s=0, jitter=1) == MAX_DELAY_S
    assert delay_s(0, retry_after_s=2, jitter=0) == 2
