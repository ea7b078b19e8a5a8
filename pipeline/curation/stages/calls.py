"""Bounded concurrent calls to a service, and what a failed call means for the run.

Retries, and how many calls are really out, are the client's (`clients.pool.pool`). A call that failed for good
is asked again record by record, so that one bad record costs one record; a service that answers nothing
for the time of a call, refuses our key, or answers only what cannot be believed, stops the run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import TypeVar

from align2llava.clients.errors import BadAnswerError, ClientError
from align2llava.clients.wire.codes import Code
from align2llava.pipeline.errors import EndpointError

_STOPPING = frozenset({Code.UNAVAILABLE, Code.UNAUTHENTICATED, Code.OVERLOADED})

MAX_BAD_ANSWERS = 8  # in a row, each to one record alone and asked for three times
MAX_AT_ONCE = 4  # batches read from the source

Batch = TypeVar("Batch")


def stop_if_unusable(name: str, error: ClientError) -> None:
    """Raises where an error is of the service, not of what was asked.

    Raises:
        EndpointError: the service cannot be reached, refuses our key, or no replica is the model.
    """
    if error.code in _STOPPING:
        raise EndpointError(f"{name}: {error.code}: {error.message}") from error


class Belief:
    """Whether what a service answers can be believed at all: one that lies would empty the whole input."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._num_bad = 0  # in a row

    def keep(self) -> None:
        """Notes an answer that fits."""
        self._num_bad = 0

    def lose(self, error: ClientError) -> None:
        """Notes what a record alone was answered.

        Raises:
            EndpointError: it is one bad answer too many.
        """
        self._num_bad = self._num_bad + 1 if isinstance(error, BadAnswerError) else 0
        if self._num_bad == MAX_BAD_ANSWERS:
            raise EndpointError(
                f"{self._name}: {MAX_BAD_ANSWERS} records in a row had answers that cannot be believed; "
                f"the last: {error.message}"
            ) from error


async def call_bounded(
    source: Iterator[Batch], call: Callable[[Batch], Awaitable[None]], *, max_calls: int
) -> None:
    """Calls for every batch of `source`, at most `max_calls` begun at a time; the source is read in a thread.

    The first error cancels the other calls and is raised as it is.
    """
    permits = asyncio.Semaphore(max_calls)

    async def with_permit(batch: Batch) -> None:
        try:
            await call(batch)
        finally:
            permits.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            goes_on = True
            while goes_on:
                num_wanted = await _permitted(permits)
                batches = await asyncio.to_thread(list, islice(source, num_wanted))
                for batch in batches:
                    tasks.create_task(with_permit(batch))
                goes_on = len(batches) == num_wanted
    except ExceptionGroup as group:
        raise first_error(group) from group


async def _permitted(permits: asyncio.Semaphore) -> int:
    """Takes a permit, and a few more that are free: each way to the thread and back takes its time."""
    await permits.acquire()
    num_taken = 1
    while num_taken < MAX_AT_ONCE and not permits.locked():
        await permits.acquire()
        num_taken += 1
    return num_taken


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """Returns the first error of a group, however deep."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, ExceptionGroup) else first
