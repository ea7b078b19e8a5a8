"""Real groups of processes: a leader that starts a keeper and a child which nothing but SIGKILL ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from align2llava.services.process.keeper import keep
from tests.contract.servers import ROOT

# Prints the pids of keeper and child; the second kind does not hear SIGTERM, as a service that hangs.
LEADER = """
import os, signal, subprocess, sys, time
from multiprocessing import resource_tracker
from align2llava.services.process.keeper import Keeper
supervisor, does_hear = int(sys.argv[1]), sys.argv[2] == "hears"
if not does_hear:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
keeper = Keeper.start(supervisor=supervisor or os.getppid(), grace_s=float(sys.argv[3]))
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
resource_tracker.ensure_running()
print(keeper._process.pid, child.pid, flush=True)
signal.signal(signal.SIGUSR2, lambda *_: keeper.end_worker())
while True:
    time.sleep(0.1)
    if keeper.has_ended:
        keeper.end_worker()
"""


@contextmanager
def leader(
    *, supervisor: int = 0, kind: str = "hears", grace_s: float = 0.5
) -> Iterator[list[psutil.Process]]:
    """The leader, its keeper, its child and the tracker."""
    popen = subprocess.Popen(
        [sys.executable, "-c", LEADER, str(supervisor), kind, str(grace_s)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert popen.stdout is not None
    try:
        pids = [popen.pid, *map(int, popen.stdout.readline().split())]
        processes = [psutil.Process(pid) for pid in pids]
        yield [*processes, *(p for p in processes[0].children() if p.pid not in pids)]
    finally:
        popen.stdout.close()
        kill_group(popen.pid)
        popen.wait()


def kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that run after at most 20 s."""
    running = processes
    end = time.monotonic() + 20
    while time.monotonic() < end:
        running = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if not running:
            return []
        time.sleep(0.05)
    return running


def test_nothing_is_left_of_a_killed_worker():
    with leader() as processes:
        assert len(processes) == 4
        processes[0].kill()
        assert left(processes) == []


@pytest.mark.parametrize("kind", ["hears", "hangs"])
def test_worker_that_is_asked_to_end_ends_whether_it_hears_or_hangs(kind: str):
    with leader(kind=kind) as processes:
        processes[0].send_signal(signal.SIGUSR2)
        assert left(processes) == []


@pytest.mark.parametrize("kind", ["hears", "hangs"])
def test_worker_ends_seconds_after_its_supervisor_whatever_time_it_has_otherwise(kind: str):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with leader(supervisor=gone.pid, kind=kind, grace_s=3600) as processes:
        assert left(processes) == []


def test_worker_whose_keeper_was_killed_ends_by_itself():
    with leader() as processes:
        worker, keeper, child, _ = processes
        keeper.kill()
        assert left([worker, keeper]) == []
        child.kill()


def test_keeper_does_not_hear_what_a_supervisor_sends_to_all_children():
    with leader() as processes:
        processes[1].send_signal(signal.SIGINT)
        processes[1].send_signal(signal.SIGTERM)
        processes[0].kill()
        assert left(processes) == []


def test_keeper_of_a_worker_that_ended_before_it_looked_asks_nobody_else_to_end():
    keep(worker=0, supervisor=0, grace_s=60.0)  # our parent is another
