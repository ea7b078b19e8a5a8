"""The micro-batcher: gathers jobs of many callers into calls of one device, batch by batch.

Three phases overlap: jobs are prepared on CPU threads, batches are launched on the device's own
thread, and what waits for their results runs on a third, while the next batch is launched. A batch
is formed by tokens. Callers are bounded by `services.core.admission` before they come here. Knows
neither transport nor engine.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from align2llava.services.errors import DeadlineError, InternalError, ServiceError, UnavailableError

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 2  # batches: one on the device, one launched behind it


class Prepared(Protocol):
    """What a job became when it was prepared."""

    @property
    def num_items(self) -> int:
        """How many candidates it holds."""
        ...

    @property
    def num_tokens(self) -> int:
        """What it costs the device."""
        ...


J = TypeVar("J")
P = TypeVar("P", bound=Prepared)
R = TypeVar("R")
Launch = Callable[[Sequence[P]], Callable[[], Sequence[R]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStats:
    """One batch."""

    num_jobs: int
    num_items: int
    num_tokens: int
    device_ms: float  # from its launch, or the end of the batch before, to its results
    max_wait_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How batches are formed."""

    max_tokens: int  # of one batch, unless a single job has more
    max_wait_ms: float  # how long a batch with room waits for jobs that are being prepared
    num_prepare_threads: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Entry(Generic[P, R]):
    job: P
    deadline: float  # on the event loop's clock
    arrived: float
    future: asyncio.Future[R]


class Batcher(Generic[J, P, R]):
    """Runs jobs in batches; `start` and `aclose` from the event loop.

    `launch` gets the prepared jobs of a batch and returns what waits for their results, one for
    each, in order. If either raises, each job is run again alone, so that a failing job fails only
    itself. `on_start` is told the items and tokens of a batch before it is launched, `on_batch` what
    it took.
    """

    def __init__(
        self,
        prepare: Callable[[J], P],
        launch: Launch[P, R],
        *,
        executor: ThreadPoolExecutor,
        limits: BatchLimits,
        on_start: Callable[[int, int], None] = lambda _items, _tokens: None,
        on_batch: Callable[[BatchStats], None] = lambda _: None,
    ) -> None:
        self._prepare = prepare
        self._launch = launch
        self._device = executor
        self._limits = limits
        self._on_start = on_start
        self._on_batch = on_batch
        self._preparing = ThreadPoolExecutor(
            limits.num_prepare_threads, thread_name_prefix="prepare"
        )
        self._finishing = ThreadPoolExecutor(1, thread_name_prefix="finish")
        self._waiting: deque[_Entry[P, R]] = deque()
        self._num_coming = 0
        self._change = asyncio.Event()
        self._is_closed = False
        self._device_free_at = 0.0
        self._loop_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the batch loop on the running event loop."""
        self._loop_task = asyncio.create_task(self._work())

    @property
    def is_running(self) -> bool:
        """Whether the batch loop works."""
        return self._loop_task is not None and not self._loop_task.done()

    async def submit(self, job: J, *, deadline: float) -> R:
        """Returns the job's result.

        A caller that is cancelled, or whose deadline passes, before its batch starts costs no
        device time.

        Raises:
            DeadlineError: `deadline`, on the event loop's clock, passed first.
            UnavailableError: the batcher is closed.
            ServiceError: what preparing or computing raised; anything else becomes `InternalError`.
        """
        if self._is_closed:
            raise UnavailableError("the service is shutting down")
        try:
            async with asyncio.timeout_at(deadline):
                return await (await self._entered(job, deadline)).future
        except TimeoutError:
            raise DeadlineError("the deadline passed before the item was computed") from None

    async def _entered(self, job: J, deadline: float) -> _Entry[P, R]:
        """Prepares a job and puts it in line."""
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        self._num_coming += 1
        try:
            prepared = await loop.run_in_executor(self._preparing, self._prepare, job)
        except ServiceError:
            raise
        # Whatever preparing raises belongs to this job alone.
        except Exception as error:
            logger.exception("a job could not be prepared")
            raise InternalError(f"the engine failed: {type(error).__name__}") from error
        finally:
            self._num_coming -= 1
            self._change.set()
        entry: _Entry[P, R] = _Entry(
            job=prepared, deadline=deadline, arrived=arrived, future=loop.create_future()
        )
        self._waiting.append(entry)
        return entry

    async def aclose(self) -> None:
        """Refuses new jobs, finishes those that wait, then stops the loop."""
        self._is_closed = True
        self._change.set()
        if self._loop_task is not None:
            await self._loop_task
        self._preparing.shutdown()
        self._finishing.shutdown()

    async def _work(self) -> None:
        in_flight: set[asyncio.Task[None]] = set()
        try:
            while not self._is_done():
                if not self._waiting:
                    self._change.clear()
                    await self._change.wait()
                    continue
                await self._gather()
                batch = self._next_batch()
                if batch:
                    started = asyncio.get_running_loop().time()
                    self._on_start(
                        sum(entry.job.num_items for entry in batch),
                        sum(entry.job.num_tokens for entry in batch),
                    )
                    wait = await self._launched(batch)
                    finish = self._finish(batch, wait, started=started)
                    in_flight.add(asyncio.create_task(finish))
                if len(in_flight) >= MAX_IN_FLIGHT:
                    done, in_flight = await asyncio.wait(
                        in_flight, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        task.result()
        finally:
            if in_flight:
                await asyncio.wait(in_flight)

    def _is_done(self) -> bool:
        return self._is_closed and not self._waiting and not self._num_coming

    async def _gather(self) -> None:
        """Waits, not for long, while jobs are being prepared that the batch has room for."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.max_wait_ms / 1e3
        while self._num_coming and loop.time() < end and self._has_room():
            self._change.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._change.wait()
            except TimeoutError:
                return

    def _has_room(self) -> bool:
        return sum(entry.job.num_tokens for entry in self._waiting) < self._limits.max_tokens

    def _next_batch(self) -> list[_Entry[P, R]]:
        """Takes waiting jobs in order of arrival, without those nobody waits for any more."""
        now = asyncio.get_running_loop().time()
        batch: list[_Entry[P, R]] = []
        num_tokens = 0
        while self._waiting:
            entry = self._waiting[0]
            if entry.future.done() or entry.deadline <= now:
                self._waiting.popleft()
                continue
            if batch and num_tokens + entry.job.num_tokens > self._limits.max_tokens:
                break
            batch.append(self._waiting.popleft())
            num_tokens += entry.job.num_tokens
        return batch

    async def _launched(
        self, batch: list[_Entry[P, R]]
    ) -> Callable[[], Sequence[R | ServiceError]]:
        jobs = [entry.job for entry in batch]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._device, self._launch_safely, jobs)

    def _launch_safely(self, jobs: list[P]) -> Callable[[], Sequence[R | ServiceError]]:
        """Launches a batch on the device's thread, or runs its jobs one by one if that fails."""
        try:
            wait = self._launch(jobs)
        # Whatever the engine raises belongs to this batch and must not end the loop for others.
        except Exception as error:  # noqa: BLE001  (logged and answered below)
            alone = self._alone(jobs, error)
            return lambda: alone

        def finished() -> Sequence[R | ServiceError]:
            try:
                return _checked(wait(), jobs)
            except Exception as error:  # noqa: BLE001  (as above)
                return self._device.submit(self._alone, jobs, error).result()

        return finished

    def _alone(self, jobs: list[P], error: Exception) -> list[R | ServiceError]:
        """Returns the outcome of each job, run alone after the batch of them failed with `error`."""
        if not isinstance(error, ServiceError):
            logger.error("a batch of %d jobs failed", len(jobs), exc_info=error)
        if len(jobs) == 1:
            return [_as_service_error(error)]
        outcomes: list[R | ServiceError] = []
        for job in jobs:
            try:
                outcomes += _checked(self._launch([job])(), [job])
            except Exception as failure:  # noqa: BLE001  (as above)
                outcomes.append(_as_service_error(failure))
        return outcomes

    async def _finish(
        self,
        batch: list[_Entry[P, R]],
        wait: Callable[[], Sequence[R | ServiceError]],
        *,
        started: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._finishing, wait)
        for entry, outcome in zip(batch, outcomes, strict=True):
            if entry.future.done():
                continue
            if isinstance(outcome, ServiceError):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome)
        now = loop.time()
        busy_s = now - max(started, self._device_free_at)
        self._device_free_at = now
        self._on_batch(
            BatchStats(
                num_jobs=len(batch),
                num_items=sum(entry.job.num_items for entry in batch),
                num_tokens=sum(entry.job.num_tokens for entry in batch),
                device_ms=1e3 * busy_s,
                max_wait_ms=1e3 * (started - min(entry.arrived for entry in batch)),
            )
        )


def _checked(results: Sequence[R], jobs: Sequence[object]) -> Sequence[R]:
    if len(results) != len(jobs):
        raise InternalError(f"the engine gave {len(results)} results for {len(jobs)} jobs")
    return results


def _as_service_error(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    return InternalError(f"the engine failed: {type(error).__name__}")
