"""The micro-batcher: gathers jobs of many callers into calls of one function on one thread.

While the device works, jobs gather; the next batch takes what is there. Callers are bounded by
`services.admission` before they come here. Knows neither transport nor engine.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.errors import DeadlineError, InternalError, ServiceError, UnavailableError

logger = logging.getLogger(__name__)

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStats:
    """One call of the device."""

    num_jobs: int
    num_items: int
    device_ms: float
    max_wait_ms: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entry(Generic[J, R]):
    job: J
    num_items: int
    deadline: float  # on the event loop's clock
    arrived: float
    future: asyncio.Future[R]


class Batcher(Generic[J, R]):
    """Runs jobs in batches on a thread of its own; `start` and `aclose` from the event loop.

    `run` gets the jobs of a batch and returns one result for each, in order. If it raises, each
    job is run again alone, so that a failing job fails only itself.
    """

    def __init__(
        self,
        run: Callable[[Sequence[J]], Sequence[R]],
        *,
        executor: ThreadPoolExecutor,
        max_batch_items: int,
        on_batch: Callable[[BatchStats], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._executor = executor
        self._max_batch_items = max_batch_items
        self._on_batch = on_batch
        self._waiting: deque[_Entry[J, R]] = deque()
        self._arrival = asyncio.Event()
        self._is_closed = False
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the batch loop on the running event loop."""
        self._loop_task = asyncio.create_task(self._work())

    @property
    def is_running(self) -> bool:
        """Whether the batch loop works."""
        return self._loop_task is not None and not self._loop_task.done()

    async def submit(self, job: J, *, num_items: int, deadline: float) -> R:
        """Returns the job's result.

        A caller that is cancelled, or whose deadline passes, before its batch starts costs no
        device time.

        Raises:
            DeadlineError: `deadline`, on the event loop's clock, passed first.
            UnavailableError: the batcher is closed.
            ServiceError: what `run` raised for this job; anything else becomes `InternalError`.
        """
        if self._is_closed:
            raise UnavailableError("the service is shutting down")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        entry = _Entry(
            job=job, num_items=num_items, deadline=deadline, arrived=loop.time(), future=future
        )
        self._waiting.append(entry)
        self._arrival.set()
        try:
            async with asyncio.timeout_at(deadline):
                return await future
        except TimeoutError:
            raise DeadlineError("the deadline passed before the item was computed") from None

    async def aclose(self) -> None:
        """Refuses new jobs, finishes those that wait, then stops the loop."""
        self._is_closed = True
        self._arrival.set()
        if self._loop_task is not None:
            await self._loop_task

    async def _work(self) -> None:
        while True:
            await self._arrival.wait()
            batch = self._next_batch()
            if batch:
                await self._run_batch(batch)
            elif self._is_closed:
                return
            else:
                self._arrival.clear()

    def _next_batch(self) -> list[_Entry[J, R]]:
        """Takes waiting jobs in order of arrival, without those nobody waits for any more."""
        now = asyncio.get_running_loop().time()
        batch: list[_Entry[J, R]] = []
        num_items = 0
        while self._waiting:
            entry = self._waiting[0]
            if entry.future.done() or entry.deadline <= now:
                self._waiting.popleft()
                continue
            if batch and num_items + entry.num_items > self._max_batch_items:
                break
            batch.append(self._waiting.popleft())
            num_items += entry.num_items
        return batch

    async def _run_batch(self, batch: list[_Entry[J, R]]) -> None:
        started = asyncio.get_running_loop().time()
        outcomes, device_ms = await self._outcomes([entry.job for entry in batch])
        for entry, outcome in zip(batch, outcomes, strict=True):
            if entry.future.done():
                continue
            if isinstance(outcome, ServiceError):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome)
        self._on_batch(
            BatchStats(
                num_jobs=len(batch),
                num_items=sum(entry.num_items for entry in batch),
                device_ms=device_ms,
                max_wait_ms=1e3 * (started - min(entry.arrived for entry in batch)),
            )
        )

    async def _outcomes(self, jobs: list[J]) -> tuple[Sequence[R | ServiceError], float]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._outcomes_on_thread, jobs)

    def _outcomes_on_thread(self, jobs: list[J]) -> tuple[Sequence[R | ServiceError], float]:
        started = time.perf_counter()
        outcomes = self._attempt(jobs)
        if len(jobs) > 1 and isinstance(outcomes, ServiceError):
            alone = [self._attempt([job]) for job in jobs]
            results = [one if isinstance(one, ServiceError) else one[0] for one in alone]
        elif isinstance(outcomes, ServiceError):
            results = [outcomes]
        else:
            results = list(outcomes)
        return results, 1e3 * (time.perf_counter() - started)

    def _attempt(self, jobs: list[J]) -> Sequence[R] | ServiceError:
        try:
            results = self._run(jobs)
        except ServiceError as error:
            return error
        # Whatever the engine raises belongs to this batch and must not end the loop for others.
        except Exception as error:
            logger.exception("a batch of %d jobs failed", len(jobs))
            return InternalError(f"the engine failed: {type(error).__name__}")
        if len(results) != len(jobs):
            return InternalError(f"the engine gave {len(results)} results for {len(jobs)} jobs")
        return results
