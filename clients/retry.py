"""Retries of one call by the code table, within the call's own time. Knows no transport."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from align2llava.clients.errors import ClientError, DeadlineError
from align2llava.clients.wire.codes import TABLE, Retry

T = TypeVar("T")

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
MAX_INTERNAL_RETRIES = 2


def may_retry(error: ClientError, *, num_internal: int) -> bool:
    """Returns whether the table allows another attempt after `error`.

    `num_internal` counts the `internal` answers of this call so far, this one included.
    """
    retry = TABLE[error.code].retry
    if retry is Retry.TWICE:
        return num_internal <= MAX_INTERNAL_RETRIES
    return retry in (Retry.YES, Retry.SLOWER)


def delay_s(attempt: int, *, retry_after_s: float, jitter: float) -> float:
    """Returns how long to wait after failed attempt number `attempt` (from 0), in seconds.

    Exponential with full jitter (`jitter` in [0, 1)), never less than the service asked for.
    Source: the "full jitter" scheme of AWS Architecture Blog, Exponential Backoff And Jitter, 2015.
    """
    ceiling = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt, 32))
    return retry_after_s + jitter * ceiling


async def with_retries(call: Callable[[float], Awaitable[T]], *, timeout_s: float) -> T:
    """Returns what `call(time left in s)` returns, trying again as the table allows.

    Raises:
        ClientError: the last one, where the table allows no retry or the time would not suffice. That an
            attempt with less than half of the time was cut by its end tells nothing of the service: then
            it is the one before.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    num_internal = 0
    attempt = 0
    before: ClientError | None = None
    while True:
        left_s = end - loop.time()
        if left_s <= 0:
            raise before or DeadlineError(f"no answer within {timeout_s:g} s")
        try:
            return await call(left_s)
        except DeadlineError as error:
            if before is None or left_s >= timeout_s / 2:
                raise
            raise before from error
        except ClientError as error:
            before = error
            num_internal += TABLE[error.code].retry is Retry.TWICE
            pause_s = delay_s(
                attempt,
                retry_after_s=error.retry_after_s,
                jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
            )
            is_too_late = loop.time() + pause_s >= end
            if is_too_late or not may_retry(error, num_internal=num_internal):
                raise
        await asyncio.sleep(pause_s)
        attempt += 1
