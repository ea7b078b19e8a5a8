"""SIGTERM and Ctrl-C: both end a run in order, with everything acknowledged stored."""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

from align2llava.pipeline.errors import TerminatedError

T = TypeVar("T")
_MESSAGE = "terminated; go on with --resume always"


@contextmanager
def sigterm_raises() -> Generator[None]:
    """Makes SIGTERM a `TerminatedError` of the main thread; elsewhere it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_async(work: Coroutine[object, object, T]) -> T:
    """Runs a coroutine to its end; SIGTERM cancels it, lets it clean up, and is a `TerminatedError`."""
    # A list, because asyncio would format a large result when the main task ends.
    results: list[T] = []
    if threading.current_thread() is not threading.main_thread():
        asyncio.run(_into(results, work))
        return results[0]
    before = signal.getsignal(signal.SIGTERM)
    try:
        asyncio.run(_terminable(_into(results, work)))
    finally:
        signal.signal(signal.SIGTERM, before)
    return results[0]


async def _into(results: list[T], work: Coroutine[object, object, T]) -> None:
    results.append(await work)


async def _terminable(work: Coroutine[object, object, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    was_terminated = asyncio.Event()

    def terminate() -> None:
        was_terminated.set()
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        await task
    except asyncio.CancelledError:
        if was_terminated.is_set():
            raise TerminatedError(_MESSAGE) from None
        raise
    finally:
        if not task.done():  # Ctrl-C cancelled us, not the task
            task.cancel()
            await asyncio.wait([task])


def _raise_terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TerminatedError(_MESSAGE)
