"""Child processes that end when their parent says so, and not when its supervisor does.

BentoML's supervisor sends SIGTERM to a service and to the service's children in the same moment
(bentoml/serving.py 1.4.39: `stop_children=True`). vLLM's core then refuses what this process has accepted
and not handed over yet (vllm/v1/engine/core.py 0.32.0: `_reject_add_in_shutdown`).
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TypeVar

import psutil

T = TypeVar("T")

_POLL_S = 0.05


@contextmanager
def deaf_to_sigterm() -> Generator[None]:
    """Has the processes that this thread starts meanwhile, and theirs, never get SIGTERM.

    They inherit the signal mask; no handler that they install changes it.
    """
    resource_tracker.ensure_running()  # it starts with the first process, and unblocks SIGTERM then
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def interrupt() -> None:
    """Asks the children of this process to end: SIGINT, which vLLM's core takes as it takes SIGTERM."""
    for child in multiprocessing.active_children():
        if child.pid is not None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(child.pid, signal.SIGINT)


async def started(loading: Awaitable[T], *, has_failed: Callable[[], bool] = lambda: False) -> T:
    """Returns what `loading` does, and where it is given up, kills what it starts until it has ended.

    A child that nobody waits for any more would never end by itself. Nor does one of which `has_failed`
    says that it cannot start: it waits for its own children, which its SIGTERM does not reach.
    """
    others = {child.pid for child in multiprocessing.active_children()}
    task = asyncio.ensure_future(loading)
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_POLL_S)
            if not task.done() and has_failed():
                _kill_children(others)
    except asyncio.CancelledError:
        while True:
            _kill_children(others)
            if task.done():
                break
            await asyncio.wait((task,), timeout=_POLL_S)
        await asyncio.gather(task, return_exceptions=True)  # nobody else asks what became of it
        raise
    return task.result()


def _kill_children(others: Collection[int | None]) -> None:
    """Kills the children that are not among the others, by process id, with all of theirs."""
    for child in multiprocessing.active_children():
        if child.pid in others:
            continue
        with suppress(psutil.NoSuchProcess):  # it has just ended
            for descendant in psutil.Process(child.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    descendant.kill()
        child.kill()
