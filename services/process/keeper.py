"""The keeper of a service's worker: a small process beside it that leaves nothing behind when it ends.

BentoML makes a group of processes for each worker, and whatever the worker starts (vLLM's core, and the
core's own workers) stays in it. The keeper waits for the end of the worker, however it comes, and kills what
is left of the group. It is asked to end the worker, or does so by itself, sooner, where the supervisor has died.
A process of its own, because a worker that hangs, or holds the interpreter's lock, could not do it.
"""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import psutil

_POLL_S = 0.5
# Where the supervisor was killed, what was accepted has this long at most: somebody wants the service gone.
_ORPHAN_GRACE_S = 4.0
_KILL_POLL_S = 0.05
# multiprocessing's own process, which removes the shared memory of the others once they are gone.
_TRACKER = "multiprocessing.resource_tracker"
_END = signal.SIGUSR1
# A supervisor sends the other two to all that a worker has started.
_BLOCKED = (_END, signal.SIGTERM, signal.SIGINT)


class Keeper:
    """The worker's side."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @classmethod
    def start(cls, *, supervisor: int, grace_s: float) -> Self:
        """Starts the keeper of this process, which must lead its group.

        `grace_s` is how long a worker that was asked to end may take before it is killed.
        """
        assert os.getpgrp() == os.getpid()  # else it would kill others' processes
        # By its path: where BentoML found this package, another Python may not.
        words = (str(os.getpid()), str(supervisor), str(grace_s))
        command = [sys.executable, "-P", __file__, *words]
        # Born with the mask, it is deaf from its first instant.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            return cls(subprocess.Popen(command, stdin=subprocess.DEVNULL))  # noqa: S603  (our own words)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    @property
    def has_ended(self) -> bool:
        """Whether somebody killed it: it never ends before the worker does."""
        return self._process.poll() is not None

    def end_worker(self) -> None:
        """Has this process end, by SIGTERM first."""
        if self.has_ended:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._process.send_signal(_END)


def keep(*, worker: int, supervisor: int, grace_s: float) -> None:
    """Returns when the worker has ended, or has had its time: `grace_s` where it was asked to end.

    A worker whose supervisor died has seconds.
    """
    give_up_at = math.inf
    was_lost = False
    while time.monotonic() < give_up_at:
        is_asked = signal.sigtimedwait({_END}, _POLL_S) is not None
        is_lost = _parent_of(worker) != supervisor
        if os.getppid() != worker:
            return
        if is_asked or is_lost > was_lost:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(worker, signal.SIGTERM)
            left_s = min(grace_s, _ORPHAN_GRACE_S) if is_lost else grace_s
            give_up_at = min(give_up_at, time.monotonic() + left_s)
        was_lost = is_lost


def end_group() -> None:
    """Kills the others of this process's group until none is left, but for the tracker, which ends by itself."""
    while others := list(_others()):
        for process in others:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_KILL_POLL_S)


def _others() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if (
                process.pid != os.getpid()
                and os.getpgid(process.pid) == os.getpgrp()
                and process.status() != psutil.STATUS_ZOMBIE
                and not any(_TRACKER in word for word in process.cmdline())
            ):
                yield process


def _parent_of(pid: int) -> int:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).ppid()
    return 0


def main() -> None:
    """Keeps the worker that the command line names, which started this process, until it has ended."""
    worker, supervisor, grace_s = sys.argv[1:]
    keep(worker=int(worker), supervisor=int(supervisor), grace_s=float(grace_s))
    end_group()


if __name__ == "__main__":
    main()
