"""What a soak sees of each service, and what it makes of that: rows by tenth, claims, files that a kill leaves."""

import json
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from statistics import median

import psutil

from benchmarks.measuring import Claim, NotRun, Report, Row, at_least, at_most, percentile, say
from tests.attacks.onslaughts import is_fault
from tests.attacks.steady import Heard
from tests.attacks.world import MIB, Attacked, is_running

LOAD = 0.8
MAX_DRIFT = 1.02
WHOLE_MINUTES = 120.0
NUM_WINDOWS = 10
_GONE_S = 10.0
_PARTS = {
    "keeper.py": "keeper",
    "worker.service": "worker",
    "VLLM::EngineCore": "core",
    "VLLM::Worker": "vLLM worker",
    "resource_tracker": "tracker",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a service held at one time, all its processes together."""

    at: float  # since the load began, as a share of the whole
    num_bytes: Mapping[str, int]  # by process
    num_processes: int
    num_descriptors: int
    num_threads: int
    cpu_s: float  # since its start


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What a service holds while nobody calls; an attack's or a caller's connections are none of it."""

    processes: Counter[str]
    descriptors: Counter[str]  # by process and what they are of: "worker socket"
    threads: Counter[str]  # by process


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What was seen of a service."""

    attacked: Attacked
    capacity: float = 0.0  # answers a second beside the others
    samples: list[Sample] = field(default_factory=list)
    windows: list[Heard] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)  # answers to attacks
    num_attacks: int = 0
    failed_attacks: list[str] = field(default_factory=list)  # whose process failed or never ended
    pids: set[int] = field(default_factory=set)
    worker_pids: set[int] = field(default_factory=set)
    num_unseen: int = 0  # times that it could not be looked at whole
    rests: list[Rest] = field(default_factory=list)  # before the load and after it
    round_ended_at: float | None = None  # when each attack had come once, as a share of the whole

    def look(self, *, at: float) -> None:
        """Takes a sample; a service that is not whole is counted, and looked at again next time."""
        try:
            processes = self.attacked.processes()
            self.worker_pids.add(self.attacked.worker().pid)
        except (psutil.Error, AssertionError):
            self.num_unseen += 1
            return
        self.pids |= set(processes)
        num_bytes: Counter[str] = Counter()
        descriptors = threads = 0
        cpu_s = 0.0
        for process in processes.values():
            with suppress(psutil.NoSuchProcess), process.oneshot():
                num_bytes[part(process)] += process.memory_info().rss
                descriptors += process.num_fds()
                threads += process.num_threads()
                times = process.cpu_times()
                cpu_s += times.user + times.system
        self.samples.append(
            Sample(
                at=at,
                num_bytes=dict(num_bytes),
                num_processes=len(processes),
                num_descriptors=descriptors,
                num_threads=threads,
                cpu_s=cpu_s,
            )
        )

    def rest(self) -> Rest:
        """Returns what it holds now."""
        processes: Counter[str] = Counter()
        descriptors: Counter[str] = Counter()
        threads: Counter[str] = Counter()
        for process in self.attacked.processes().values():
            with suppress(psutil.NoSuchProcess):
                name = part(process)
                processes[name] += 1
                threads[name] += process.num_threads()
                descriptors.update(f"{name} {of}" for of in _descriptors(process))
        return Rest(processes=processes, descriptors=descriptors, threads=threads)

    def in_window(self, number: int) -> list[Sample]:
        """Samples of one tenth."""
        return [one for one in self.samples if int(one.at * NUM_WINDOWS) == number]

    @property
    def first_warm_window(self) -> int:
        """The first tenth, but for the very first, that begins after a round of all attacks.

        The largest of them leaves some 40 MiB to the allocator the first time, and none the next.
        """
        return max(1, ceil((self.round_ended_at or 0.0) * NUM_WINDOWS))

    def drift(self, name: str = "") -> float | None:
        """Memory of the last tenth over that of the first warm one; of one process by name, or of all."""
        first, last = self.in_window(self.first_warm_window), self.in_window(NUM_WINDOWS - 1)
        if not (first and last) or not (before := _held(first, name)):
            return None
        return _held(last, name) / before

    def row(self, number: int, *, window_s: float) -> Row:
        samples, heard = self.in_window(number), self.windows[number]
        last = samples[-1] if samples else None
        cores = (samples[-1].cpu_s - samples[0].cpu_s) / window_s if samples else None
        if (
            samples and len(samples) > 1 and cores is not None
        ):  # samples reach not quite to its ends
            cores /= (samples[-1].at - samples[0].at) * NUM_WINDOWS
        return {
            "service": self.attacked.site.kind,
            "tenth": number + 1,
            "capacity_per_s": self.capacity,
            "rate_per_s": LOAD * self.capacity,
            "memory_mib": _held(samples) / MIB if samples else None,
            "by_process": ", ".join(f"{n} {b / MIB:.1f}" for n, b in last.num_bytes.items())
            if last
            else "",
            "processes": last and last.num_processes,
            "descriptors": median(one.num_descriptors for one in samples) if samples else None,
            "threads": last and last.num_threads,
            "busy_cores": cores,
            "good": len(heard.seconds),
            "equal": heard.num_equal,
            "not_answered": _told(heard.others),
            "p50_ms": percentile(heard.seconds, 0.5) * 1e3 if heard.seconds else None,
            "p95_ms": percentile(heard.seconds, 0.95) * 1e3 if heard.seconds else None,
        }

    def summary(self) -> Row:
        """The whole in one row: what attacks were answered, and how each process drifted."""
        names = dict.fromkeys(name for one in self.samples for name in one.num_bytes)
        drifts = {name: self.drift(name) for name in names}
        return {
            "service": self.attacked.site.kind,
            "tenth": "all",
            "warm_from_tenth": self.first_warm_window + 1,
            "drift": self.drift(),
            "drift_by_process": ", ".join(f"{n} {d:.4f}" for n, d in drifts.items() if d),
            "threads_at_rest": " then ".join(str(one.threads.total()) for one in self.rests),
            "attacks": self.num_attacks,
            "attacks_failed": ", ".join(self.failed_attacks),
            "answered": _told(self.told),
        }


def part(process: psutil.Process) -> str:
    """Returns what a process of a service is."""
    words = " ".join(process.cmdline())
    return next((name for word, name in _PARTS.items() if word in words), "supervisor")


def _descriptors(process: psutil.Process) -> list[str]:
    """Returns what each descriptor is of: "socket ESTABLISHED", "pipe", "anon_inode:[eventpoll]" or a path.

    Connections that this process has not ended are left out: a channel of grpc that is closed with calls under way
    keeps one.
    """
    here = {one.laddr.port for one in psutil.Process().net_connections("tcp") if one.laddr}
    sockets = {one.fd: one for one in process.net_connections("all")}
    found: list[str] = []
    for path in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            of = str(path.readlink())
            kind = of if of.startswith(("/", "anon")) else of.partition(":")[0]
            one = sockets.get(int(path.name))
            if one is None or one.family == socket.AF_UNIX or not one.raddr:
                found.append(kind)
            elif one.raddr.port not in here:
                found.append(f"{kind} {one.status}")
    return found


def _held(samples: Sequence[Sample], name: str = "") -> float:
    return median(
        one.num_bytes.get(name, 0) if name else sum(one.num_bytes.values()) for one in samples
    )


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{num} x {code}" for code, num in counts.items())


class Diary:
    """Rows and samples, written as they come: what is killed has told what it saw until then."""

    def __init__(self, out: Path, *, window_s: float) -> None:
        self.report = Report("soak", is_quick=True)
        self.window_s = window_s
        self.part = out.with_suffix(".part.json")
        self._samples = out.with_suffix(".samples.jsonl")
        out.parent.mkdir(parents=True, exist_ok=True)
        self._samples.write_text("")

    def note_samples(self, soaked: Sequence[Soaked]) -> None:
        """Appends what each service held last."""
        with self._samples.open("a") as file:
            for one in soaked:
                if one.samples and one.windows:
                    last, heard = one.samples[-1], one.windows[-1]
                    told = {name: getattr(last, name) for name in Sample.__slots__}
                    told |= {"service": one.attacked.site.kind, "time": round(time.time(), 1)}
                    told |= {"good": len(heard.seconds), "not_answered": dict(heard.others)}
                    file.write(json.dumps(told) + "\n")

    def note_window(self, soaked: Sequence[Soaked], number: int) -> None:
        """Adds a row for each service."""
        for one in soaked:
            self.report.add_row(one.row(number, window_s=self.window_s))
        self.part.write_text(self.report.json())


def claims(
    soaked: Sequence[Soaked], *, minutes: float, left: Mapping[str, Sequence[str]]
) -> dict[str, Claim | NotRun]:
    """Returns what a soak has to hold; services are stopped."""
    made: dict[str, Claim | NotRun] = {"minutes": at_least(minutes, WHOLE_MINUTES)}
    for one in soaked:
        made |= _own_claims(one)
    heard = [window for one in soaked for window in one.windows]
    codes = [code for one in soaked for code in one.told.elements()]
    codes += [code for one in heard for code in one.others.elements()]
    alive = _left({pid for one in soaked for pid in one.pids})
    nothing: dict[str, float] = {
        "good answers that differ": sum(one.others["differs"] for one in heard),
        "tenths without a good answer": sum(not one.seconds for one in heard),
        "5xx": sum(map(is_fault, codes)),
        "attacks that failed of themselves": sum(len(one.failed_attacks) for one in soaked),
        "workers replaced": sum(len(one.worker_pids) - 1 for one in soaked if one.worker_pids),
        "times a service was not whole": sum(one.num_unseen for one in soaked),
        "faults in logs": sum(one.attacked.num_faults_logged() for one in soaked),
        "processes left": len(alive),
        "files left": sum(map(len, left.values())),
    }
    return made | {claim: at_most(value, 0) for claim, value in nothing.items()}


def _left(pids: set[int]) -> list[int]:
    """Returns those that run still after some seconds: a keeper ends half a second after its worker."""
    end = time.monotonic() + _GONE_S
    while (alive := [pid for pid in pids if is_running(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    return alive


def _own_claims(one: Soaked) -> dict[str, Claim | NotRun]:
    kind, drift = one.attacked.site.kind, one.drift()
    made: dict[str, Claim | NotRun] = {
        f"{kind}: memory at the end": NotRun(why="stopped before the last tenth")
        if drift is None
        else at_most(drift, MAX_DRIFT)
    }
    for what in ("processes", "descriptors"):
        claim = f"{kind}: more {what} at rest"
        if len(one.rests) < 2:
            made[claim] = NotRun(why="stopped before it was at rest again")
            continue
        before, after = (getattr(rest, what) for rest in one.rests)
        made[claim] = at_most(after.total() - before.total(), 0)
        if after != before:
            say(f"{claim}: {dict(after - before)}; less: {dict(before - after)}")
    return made
