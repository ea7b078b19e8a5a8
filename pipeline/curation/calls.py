"""Bounded concurrent calls to a service, and what a failed call means for the run.

Retries are the client's. A call that failed for good is asked again record by record, so that one
bad record costs one record; a service that cannot be reached, refuses our key or is full for the
whole deadline stops the run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from clients.errors import ClientError
from clients.wire.codes import Code
from pipeline.errors import EndpointError

MAX_FAULTS_IN_A_ROW = 20
_STOPPING = frozenset({Code.UNAVAILABLE, Code.UNAUTHENTICATED, Code.OVERLOADED})
_SERVICE_SICK = frozenset({Code.INTERNAL, Code.DEADLINE_EXCEEDED})

Batch = TypeVar("Batch")


class FaultCounter:
    """Counts calls that failed in a row, so that a sick service does not quarantine everything."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._in_a_row = 0

    def succeeded(self) -> None:
        """Notes an answer."""
        self._in_a_row = 0

    def failed(self, error: ClientError) -> None:
        """Notes a call that failed for good.

        Raises:
            EndpointError: the service cannot be used, or too many calls failed in a row.
        """
        if error.code in _STOPPING:
            raise EndpointError(f"{self._name}: {error.code}: {error.message}") from error
        if error.code in _SERVICE_SICK:
            self._in_a_row += 1
        if self._in_a_row >= MAX_FAULTS_IN_A_ROW:
            raise EndpointError(
                f"{self._name}: {self._in_a_row} calls failed in a row; "
                f"the last: {error.code}: {error.message}"
            ) from error


async def call_bounded(
    source: Iterator[Batch], call: Callable[[Batch], Awaitable[None]], *, max_in_flight: int
) -> None:
    """Calls for every batch of `source`, at most `max_in_flight` at a time; the source is read in a thread.

    The first error cancels the other calls and is raised as it is.
    """
    permits = asyncio.Semaphore(max_in_flight)

    async def with_permit(batch: Batch) -> None:
        try:
            await call(batch)
        finally:
            permits.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            await permits.acquire()
            while (batch := await asyncio.to_thread(next, source, None)) is not None:
                tasks.create_task(with_permit(batch))
                await permits.acquire()
    except ExceptionGroup as group:
        raise first_error(group) from group


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """Returns the first error of a group, however deep."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, ExceptionGroup) else first
