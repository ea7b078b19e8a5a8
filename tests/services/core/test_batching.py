import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from align2llava.services.core.batching import Batcher, BatchLimits, BatchStats
from align2llava.services.errors import (
    DeadlineError,
    InternalError,
    TooLargeError,
    UnavailableError,
)

SOON_S = 5.0


@dataclass(frozen=True)
class Number:
    """A prepared job: a number of so many tokens."""

    value: int
    num_tokens: int = 1
    num_items: int = 1


class Device:
    """Doubles numbers; cleared events keep a call inside until they are set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.may_prepare, self.may_run, self.may_finish = (threading.Event() for _ in range(3))
        for event in (self.may_prepare, self.may_run, self.may_finish):
            event.set()

    def prepare(self, job: int) -> Number:
        assert self.may_prepare.wait(SOON_S)
        if job == -4:
            raise TooLargeError("too long to prepare")
        if job == -5:
            raise RuntimeError("broken")
        return Number(job, num_tokens=job if job >= 100 else 1)

    def launch(self, jobs: Sequence[Number]) -> Callable[[], list[int]]:
        values = [job.value for job in jobs]
        self.batches.append(values)
        self.threads.add(threading.get_ident())
        assert self.may_run.wait(SOON_S)
        if -1 in values:
            raise RuntimeError("broken")
        if -2 in values:
            raise TooLargeError("too long")
        return lambda: self.finish(values)

    def finish(self, values: list[int]) -> list[int]:
        assert self.may_finish.wait(SOON_S)
        if -6 in values:
            raise RuntimeError("broken later")
        if -3 in values:
            return [0] * (len(values) + 1)
        return [2 * value for value in values]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


LIMITS = BatchLimits(max_tokens=4, max_wait_ms=0.0, num_prepare_threads=2)
IntBatcher = Batcher[int, Number, int]


def started(
    device: Device,
    executor: ThreadPoolExecutor,
    *,
    limits: BatchLimits = LIMITS,
    on_start: Callable[[int, int], None] = lambda _items, _tokens: None,
    on_batch: Callable[[BatchStats], None] = lambda _: None,
) -> IntBatcher:
    batcher = Batcher(
        device.prepare,
        device.launch,
        executor=executor,
        limits=limits,
        on_start=on_start,
        on_batch=on_batch,
    )
    batcher.start()
    return batcher


def submit(batcher: IntBatcher, job: int, *, after_s: float = SOON_S) -> asyncio.Task[int]:
    deadline = asyncio.get_running_loop().time() + after_s
    return asyncio.create_task(batcher.submit(job, deadline=deadline))


async def waiting(batcher: IntBatcher, num_jobs: int) -> None:
    """Returns when so many jobs are prepared and wait for the device."""
    while len(batcher._waiting) < num_jobs:  # noqa: ASYNC110  (filled by other threads)
        await asyncio.sleep(0.001)


async def until_running(device: Device) -> None:
    while not device.batches:  # noqa: ASYNC110  (filled by another thread)
        await asyncio.sleep(0.001)


async def test_each_caller_gets_its_own_result(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor)
    assert await asyncio.gather(*(submit(batcher, n) for n in range(10))) == [
        2 * n for n in range(10)
    ]
    await batcher.aclose()
    assert len(device.threads) == 1
    assert threading.get_ident() not in device.threads


async def test_jobs_gather_while_the_device_works(executor: ThreadPoolExecutor):
    device = Device()
    begun: list[tuple[int, int]] = []
    stats: list[BatchStats] = []
    batcher = started(
        device, executor, on_start=lambda *sizes: begun.append(sizes), on_batch=stats.append
    )
    device.may_run.clear()
    tasks = [submit(batcher, 0)]
    await until_running(device)
    assert begun == [(1, 1)]
    tasks += [submit(batcher, n) for n in range(1, 7)]
    await waiting(batcher, 6)
    device.may_run.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in device.batches] == [1, 4, 2]
    await batcher.aclose()
    assert [(s.num_items, s.num_tokens) for s in stats] == begun == [(1, 1), (4, 4), (2, 2)]
    assert stats[1].max_wait_ms > 0


async def test_job_over_the_batch_size_runs_alone(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor)
    assert await submit(batcher, 100) == 200
    await batcher.aclose()


async def test_batch_with_room_waits_for_what_is_being_prepared(executor: ThreadPoolExecutor):
    device = Device()
    limits = replace(LIMITS, max_wait_ms=1e3 * SOON_S)
    batcher = started(device, executor, limits=limits)
    device.may_prepare.clear()
    tasks = [submit(batcher, n) for n in range(3)]
    await asyncio.sleep(0.01)
    device.may_prepare.set()
    await asyncio.gather(*tasks)
    assert [sorted(batch) for batch in device.batches] == [[0, 1, 2]]
    await batcher.aclose()


async def test_batch_waits_no_longer_than_it_may(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor, limits=replace(LIMITS, max_wait_ms=10.0))
    first = await submit(batcher, 1)
    device.may_prepare.clear()
    slow = submit(batcher, 2)
    assert first == 2
    await asyncio.sleep(0.02)
    assert not slow.done()
    device.may_prepare.set()
    assert await slow == 4
    await batcher.aclose()


async def test_next_batch_is_launched_while_the_last_one_finishes(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor)
    device.may_finish.clear()
    tasks = [submit(batcher, 0)]
    await until_running(device)
    tasks += [submit(batcher, n) for n in range(1, 9)]
    while len(device.batches) < 2:  # noqa: ASYNC110  (filled by another thread)
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert len(device.batches) == 2  # no third: two in flight are enough
    assert not any(task.done() for task in tasks)
    device.may_finish.set()
    assert await asyncio.gather(*tasks) == [2 * n for n in range(9)]
    await batcher.aclose()


@pytest.mark.parametrize(
    ("job", "error"),
    [
        pytest.param(-1, InternalError, id="engine raises"),
        pytest.param(-2, TooLargeError, id="engine refuses"),
        pytest.param(-3, InternalError, id="engine miscounts"),
        pytest.param(-4, TooLargeError, id="preparing refuses"),
        pytest.param(-5, InternalError, id="preparing raises"),
        pytest.param(-6, InternalError, id="finishing raises"),
    ],
)
async def test_failing_job_fails_only_itself(
    executor: ThreadPoolExecutor, job: int, error: type[Exception]
):
    device = Device()
    batcher = started(device, executor)
    device.may_run.clear()
    first = submit(batcher, 0)
    await until_running(device)
    others = [submit(batcher, 1), submit(batcher, job), submit(batcher, 2)]
    await waiting(batcher, 2 if job in (-4, -5) else 3)
    device.may_run.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert results[:2] + results[3:] == [0, 2, 4]
    assert isinstance(results[2], error)
    assert await submit(batcher, 5) == 10
    await batcher.aclose()


async def test_cancelled_caller_costs_no_device_time(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor)
    device.may_run.clear()
    first = submit(batcher, 0)
    await until_running(device)
    cancelled, kept = submit(batcher, 1), submit(batcher, 2)
    await waiting(batcher, 2)
    cancelled.cancel()
    await asyncio.sleep(0)
    device.may_run.set()
    assert await asyncio.gather(first, kept) == [0, 4]
    assert device.batches == [[0], [2]]
    await batcher.aclose()


async def test_expired_caller_costs_no_device_time(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor)
    device.may_run.clear()
    first = submit(batcher, 0)
    await until_running(device)
    with pytest.raises(DeadlineError):
        await submit(batcher, 1, after_s=0.01)
    device.may_run.set()
    assert await first == 0
    await batcher.aclose()
    assert device.batches == [[0]]


async def test_close_answers_what_waits_and_refuses_the_rest(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor)
    device.may_run.clear()
    tasks = [submit(batcher, 0)]
    await until_running(device)
    tasks += [submit(batcher, n) for n in range(1, 9)]
    await waiting(batcher, 8)
    closing = asyncio.create_task(batcher.aclose())
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError):
        await submit(batcher, 99)
    device.may_run.set()
    assert await asyncio.gather(*tasks) == [2 * n for n in range(9)]
    await closing
    assert not batcher.is_running
