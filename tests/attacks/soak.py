"""Hours of load with attacks in between: what grows, what is left, whether rewards stay: `python -m tests.attacks.soak`.

The three services are asked at 80 % of what they answer together. Of each minute the last 20 s belong to one
attack beside the load, each on the services that it is for.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import median

import psutil

from benchmarks.measuring import RESULTS, Report, at_least, at_most, percentile, say
from tests.attacks.onslaughts import ONSLAUGHTS, attacked
from tests.attacks.steady import Caller, Heard, calling, connected
from tests.attacks.world import MIB, Attacked, Engine, is_running, services

LOAD = 0.8
MAX_DRIFT = 1.02
WHOLE_MINUTES = 120.0
NUM_WINDOWS = 10
_WARM_S, _CAPACITY_S = 5.0, 20.0
_AT_ONCE = 4  # of a service's callers while its capacity is measured
_SAMPLE_S = 5.0
_MINUTE_S, _ATTACK_S = 60.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a service held at one time."""

    at: float  # since the load began, as a share of the whole
    num_bytes: Mapping[str, int]  # by process
    num_descriptors: int
    num_threads: int


@dataclass(slots=True, kw_only=True)
class Soaked:
    """What was seen of a service."""

    attacked: Attacked
    capacity: float = 0.0  # answers a second beside the others
    samples: list[Sample] = field(default_factory=list)
    windows: list[Heard] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)  # answers to attacks
    pids: set[int] = field(default_factory=set)

    def in_window(self, number: int) -> list[Sample]:
        """Samples of one tenth."""
        return [one for one in self.samples if int(one.at * NUM_WINDOWS) == number]

    def drift(self) -> float:
        """Memory of the last tenth over that of the second, when all is warm."""
        return _held(self.in_window(NUM_WINDOWS - 1)) / _held(self.in_window(1))

    def num_grown(self) -> float:
        """Descriptors and threads more in the last tenth than in the second."""
        last, first = (
            median(one.num_descriptors + one.num_threads for one in self.in_window(number))
            for number in (NUM_WINDOWS - 1, 1)
        )
        return last - first

    def row(self, number: int) -> dict[str, str | int | float | bool | None]:
        samples, heard = self.in_window(number), self.windows[number]
        last = samples[-1]
        return {
            "service": self.attacked.site.kind,
            "tenth": number + 1,
            "memory_mib": _held(samples) / MIB,
            "by_process": ", ".join(f"{n} {b / MIB:.0f}" for n, b in last.num_bytes.items()),
            "descriptors": last.num_descriptors,
            "threads": last.num_threads,
            "good": len(heard.seconds),
            "equal": heard.num_equal,
            "not_answered": ", ".join(f"{num} x {code}" for code, num in heard.others.items()),
            "p50_ms": percentile(heard.seconds, 0.5) * 1e3,
            "p95_ms": percentile(heard.seconds, 0.95) * 1e3,
        }


def _held(samples: Sequence[Sample]) -> float:
    return median(sum(one.num_bytes.values()) for one in samples)


async def soak(
    running: Sequence[Attacked],
    names: Sequence[str],
    *,
    seconds: float,
    minute_s: float = _MINUTE_S,
) -> list[Soaked]:
    """Returns what was seen; what came until then where it is cancelled."""
    soaked = [Soaked(attacked=one) for one in running]
    await _measure_capacity(soaked)
    began = time.monotonic()
    async with _loaded(soaked) as callers:
        others = [
            asyncio.create_task(_watch(soaked, began=began, seconds=seconds)),
            asyncio.create_task(_attack(soaked, names, minute_s=minute_s)),
        ]
        try:
            for number in range(NUM_WINDOWS):
                for one, caller in zip(soaked, callers, strict=True):
                    caller.heard = Heard()
                    one.windows.append(caller.heard)
                ends = began + seconds * (number + 1) / NUM_WINDOWS
                await asyncio.sleep(ends - time.monotonic())
                for one in soaked:
                    say(str(one.row(number)))
        except asyncio.CancelledError:
            say("stopped; what was seen is told")
        finally:
            for other in others:
                other.cancel()
            await asyncio.wait(others)
    return soaked


async def _measure_capacity(soaked: Sequence[Soaked]) -> None:
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(connected(one.attacked.site)) for one in soaked]
        for seconds in (_WARM_S, _CAPACITY_S):
            for caller in callers:
                caller.heard = Heard()
            await asyncio.gather(
                *(caller.work_off(seconds=seconds, num_at_once=_AT_ONCE) for caller in callers)
            )
        for one, caller in zip(soaked, callers, strict=True):
            one.capacity = len(caller.heard.seconds) / _CAPACITY_S
            say(f"{one.attacked.site.kind}: {one.capacity:.1f} answers a second at most")


@asynccontextmanager
async def _loaded(soaked: Sequence[Soaked]) -> AsyncGenerator[list[Caller]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(calling(one.attacked.site, rate=LOAD * one.capacity))
            for one in soaked
        ]


async def _watch(soaked: Sequence[Soaked], *, began: float, seconds: float) -> None:
    while True:
        for one in soaked:
            with suppress(psutil.NoSuchProcess):
                processes = one.attacked.processes()
                one.pids |= set(processes)
                worker = one.attacked.worker()
                one.samples.append(
                    Sample(
                        at=min(0.9999, (time.monotonic() - began) / seconds),
                        num_bytes=_memory(processes.values()),
                        num_descriptors=worker.num_fds(),
                        num_threads=worker.num_threads(),
                    )
                )
        await asyncio.sleep(min(_SAMPLE_S, seconds / NUM_WINDOWS / 4))


def _memory(processes: Iterable[psutil.Process]) -> dict[str, int]:
    held: Counter[str] = Counter()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            held[_part(process)] += process.memory_info().rss
    return dict(held)


def _part(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    parts = {
        "keeper.py": "keeper",
        "worker.service": "worker",
        "VLLM::EngineCore": "core",
        "VLLM::Worker": "vLLM worker",
        "resource_tracker": "tracker",
    }
    return next((part for word, part in parts.items() if word in words), "supervisor")


async def _attack(soaked: Sequence[Soaked], names: Sequence[str], *, minute_s: float) -> None:
    attack_s = minute_s * _ATTACK_S / _MINUTE_S
    for name in cycle(names):
        await asyncio.sleep(minute_s - attack_s)
        for one in soaked:
            site = one.attacked.site
            if site.kind in ONSLAUGHTS[name].kinds:
                share_s = attack_s / len(ONSLAUGHTS[name].kinds)
                one.told += await attacked(name, site, seconds=share_s)


def left_files(folder: Path, before: set[Path]) -> list[str]:
    """Returns the files of a folder that were not there before, but for logs."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path not in before and not path.is_dir()
    )


def report(
    soaked: Sequence[Soaked], *, minutes: float, is_quick: bool, left: Mapping[str, Sequence[str]]
) -> Report:
    """Returns the table and its claims."""
    told = Report("soak", is_quick=is_quick)
    for one in soaked:
        for number in range(len(one.windows)):
            if one.in_window(number) and one.windows[number].seconds:
                told.add_row(one.row(number))
    told.add_claim("minutes", at_least(minutes, WHOLE_MINUTES))
    for one in soaked:
        kind = one.attacked.site.kind
        told.add_claim(f"{kind}: memory at the end", at_most(one.drift(), MAX_DRIFT))
        told.add_claim(f"{kind}: more descriptors and threads", at_most(one.num_grown(), 0))
    heard = [window for one in soaked for window in one.windows]
    told.add_claim("good answers that differ", at_most(sum(h.others["differs"] for h in heard), 0))
    codes = [code for one in soaked for code in one.told.elements()]
    codes += [code for one in heard for code in one.others.elements()]
    told.add_claim("5xx", at_most(sum(code.startswith("5") for code in codes), 0))
    told.add_claim(
        "faults in logs", at_most(sum(o.attacked.num_faults_logged() for o in soaked), 0)
    )
    alive = [pid for one in soaked for pid in one.pids if is_running(pid)]
    told.add_claim("processes left", at_most(len(alive), 0))
    told.add_claim("files left", at_most(sum(map(len, left.values())), 0))
    for kind, names in left.items():
        say(f"{kind}: left {', '.join(names) or 'nothing'}")
    return told


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="a2l-soak-") as name:
        folder = Path(name)
        with services(folder, engine=options.engine) as running:
            before = set(folder.rglob("*"))
            began = time.monotonic()
            soaked = asyncio.run(soak(running, list(ONSLAUGHTS), seconds=options.minutes * 60))
            minutes = (time.monotonic() - began) / 60
        left = {one.site.kind: left_files(folder / one.site.kind, before) for one in running}
        is_quick = minutes < WHOLE_MINUTES or options.engine != "real"
        told = report(soaked, minutes=minutes, is_quick=is_quick, left=left)
        told.finish(options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load, and attacks in between.")
    parser.add_argument("--minutes", type=float, default=WHOLE_MINUTES)
    parser.add_argument("--engine", choices=Engine.__args__, default="real")
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
