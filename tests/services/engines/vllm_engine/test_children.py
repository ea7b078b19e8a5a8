"""Real child processes and real signals."""

import asyncio
import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess

import pytest

from align2llava.services.engines.vllm_engine import children

CONTEXT = multiprocessing.get_context("spawn")


def sleeping() -> BaseProcess:
    child = CONTEXT.Process(target=time.sleep, args=(60,), daemon=True)
    child.start()
    return child


def test_child_born_deaf_outlives_sigterm_and_ends_when_it_is_interrupted():
    with children.deaf_to_sigterm():
        child = sleeping()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    other = sleeping()
    for one in (child, other):
        one.terminate()
    other.join(10)
    assert other.exitcode == -signal.SIGTERM
    child.join(1)
    assert child.is_alive()
    children.interrupt()
    child.join(10)
    assert not child.is_alive()


async def test_load_that_goes_well_keeps_its_children():
    child = await children.started(asyncio.to_thread(sleeping))
    assert child.is_alive()
    child.kill()
    child.join()


async def test_load_given_up_as_it_ends_leaves_no_child_behind():
    born: list[BaseProcess] = []
    is_born = asyncio.Event()

    async def load() -> None:
        born.append(sleeping())
        is_born.set()

    loading = asyncio.create_task(children.started(load()))
    await is_born.wait()
    loading.cancel()  # who waits for the load has not been told of its end
    with pytest.raises(asyncio.CancelledError):
        await loading
    born[0].join(5)
    assert born[0].exitcode == -signal.SIGKILL


async def test_load_that_is_given_up_leaves_no_child_behind():
    pids: list[int] = []

    def load() -> None:
        time.sleep(0.3)  # the child is not there yet when the load is given up
        with children.deaf_to_sigterm():
            child = sleeping()
        assert child.pid is not None
        pids.append(child.pid)
        child.join()
        raise RuntimeError("the core has died")

    loading = asyncio.create_task(children.started(asyncio.to_thread(load)))
    await asyncio.sleep(0.1)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    (pid,) = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_children_of_before_outlive_a_load_that_fails():
    other = sleeping()
    born: list[BaseProcess] = []

    def load() -> None:
        born.append(sleeping())
        born[0].join()

    await children.started(asyncio.to_thread(load), has_failed=lambda: bool(born))
    assert born[0].exitcode == -signal.SIGKILL
    assert other.is_alive()
    other.kill()
    other.join()


async def test_core_that_has_failed_is_ended_with_the_workers_it_waits_for():
    pids: list[int] = []

    def load() -> None:
        with children.deaf_to_sigterm():
            child = sleeping()
        assert child.pid is not None
        pids.append(child.pid)
        child.join()
        raise RuntimeError("the core has died")

    with pytest.raises(RuntimeError, match="the core has died"):
        await children.started(asyncio.to_thread(load), has_failed=lambda: bool(pids))
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
