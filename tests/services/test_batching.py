import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.batching import Batcher, BatchStats
from services.errors import DeadlineError, InternalError, TooLargeError, UnavailableError

SOON_S = 5.0


class Device:
    """Doubles numbers; `hold` keeps a call inside until it is released."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.may_run = threading.Event()
        self.may_run.set()

    def run(self, jobs: Sequence[int]) -> list[int]:
        self.batches.append(list(jobs))
        self.threads.add(threading.get_ident())
        assert self.may_run.wait(SOON_S)
        if -1 in jobs:
            raise RuntimeError("broken")
        if -2 in jobs:
            raise TooLargeError("too long")
        if -3 in jobs:
            return [0] * (len(jobs) + 1)
        return [2 * job for job in jobs]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def started(device: Device, executor: ThreadPoolExecutor, **options) -> Batcher[int, int]:
    batcher = Batcher(device.run, executor=executor, **({"max_batch_items": 4} | options))
    batcher.start()
    return batcher


def submit(batcher: Batcher[int, int], job: int, *, after_s: float = SOON_S) -> asyncio.Task[int]:
    deadline = asyncio.get_running_loop().time() + after_s
    return asyncio.create_task(batcher.submit(job, num_items=1, deadline=deadline))


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
    stats: list[BatchStats] = []
    batcher = started(device, executor, on_batch=stats.append)
    device.may_run.clear()
    tasks = [submit(batcher, 0)]
    await until_running(device)
    tasks += [submit(batcher, n) for n in range(1, 7)]
    await asyncio.sleep(0)
    device.may_run.set()
    await asyncio.gather(*tasks)
    assert device.batches == [[0], [1, 2, 3, 4], [5, 6]]
    await batcher.aclose()
    assert [s.num_items for s in stats] == [1, 4, 2]
    assert stats[1].max_wait_ms > 0


async def test_group_over_the_batch_size_runs_alone(executor: ThreadPoolExecutor):
    device = Device()
    batcher = started(device, executor)
    assert (
        await batcher.submit(1, num_items=100, deadline=asyncio.get_running_loop().time() + 5) == 2
    )
    await batcher.aclose()


@pytest.mark.parametrize(
    ("job", "error"),
    [
        pytest.param(-1, InternalError, id="engine raises"),
        pytest.param(-2, TooLargeError, id="engine refuses"),
        pytest.param(-3, InternalError, id="engine miscounts"),
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
    await asyncio.sleep(0)
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
    await asyncio.sleep(0)
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
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.aclose())
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError):
        await submit(batcher, 99)
    device.may_run.set()
    assert await asyncio.gather(*tasks) == [2 * n for n in range(9)]
    await closing
    assert not batcher.is_running
