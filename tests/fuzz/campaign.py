"""A campaign: each target is fed damaged inputs, and what becomes of each is counted."""

import hashlib
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType

from tests.fuzz.mutator import Seed, mutated

HANG_S = 20.0
ROOT = Path(__file__).resolve().parent.parent.parent


class Verdict(StrEnum):
    """What a target says of an input; a typed error is `REFUSED` too."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAULT = "fault"  # 5xx, or INTERNAL, for what is the caller's fault


class ServerFault(Exception):  # noqa: N818  (not an error of the campaign)
    """A service answered an error that is not in the table, or that says the fault is its own."""


class HangError(BaseException):
    """An input took longer than its time."""


Feed = Callable[[bytes], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser: `opened` gives a function that feeds it one input, in a folder of its own.

    `typed` are the errors it may raise; `num_inputs` its part of the whole campaign.
    """

    name: str
    seeds: Callable[[], Sequence[Seed]]
    opened: Callable[[Path], AbstractContextManager[Feed]]
    typed: tuple[type[Exception], ...] = ()
    num_inputs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One input that did what none may do."""

    data: bytes
    kind: str  # uncaught, fault, hang
    signature: str
    trace: str

    def file_name(self, target: str) -> str:
        return f"{target.replace(' ', '_')}-{hashlib.sha256(self.data).hexdigest()[:16]}.bin"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of a target's inputs; `failures` holds one of each signature."""

    name: str
    tried: int = 0
    accepted: int = 0
    refused: int = 0
    uncaught: int = 0
    faults: int = 0
    peak_mib: float = 0.0
    slowest_s: float = 0.0
    failures: dict[str, Failure] = field(default_factory=dict)


def run_target(
    target: Target, folder: Path, *, seed: int, num_inputs: int, stops_hangs: bool = True
) -> Tally:
    """Feeds a target; the same seed gives the same inputs. `stops_hangs` needs the main thread."""
    rng = random.Random(f"{seed} {target.name}")
    seeds = target.seeds()
    tally = Tally(name=target.name)
    with target.opened(folder) as feed:
        for one in seeds:  # what the first call loads is no input's memory
            with suppress(*target.typed):
                feed(one.prefix + one.body)
        for _ in range(num_inputs):
            data = mutated(rng.choice(seeds), rng)
            _try(feed, data, target=target, tally=tally, stops_hangs=stops_hangs)
    return tally


def replayed(target: Target, folder: Path, data: bytes) -> Tally:
    """Feeds one input."""
    tally = Tally(name=target.name)
    with target.opened(folder) as feed:
        _try(feed, data, target=target, tally=tally, stops_hangs=True)
    return tally


def _try(feed: Feed, data: bytes, *, target: Target, tally: Tally, stops_hangs: bool) -> None:
    tally.tried += 1
    held = _memory_mib("VmRSS")
    _forget_peak()
    began = time.monotonic()
    failure = None
    try:
        with _time_limit(HANG_S if stops_hangs else 0), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            verdict = feed(data)
        tally.accepted += verdict is Verdict.ACCEPTED
        tally.refused += verdict is Verdict.REFUSED
    except ServerFault as error:
        tally.faults += 1
        failure = _failure(data, error, kind="fault")
    except target.typed:
        tally.refused += 1
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  (libraries panic with it)
        tally.uncaught += 1
        failure = _failure(data, error, kind="hang" if isinstance(error, HangError) else "uncaught")
    tally.slowest_s = max(tally.slowest_s, time.monotonic() - began)
    tally.peak_mib = max(tally.peak_mib, _memory_mib("VmHWM") - held)
    if failure is not None:
        known = tally.failures.get(failure.signature)
        if known is None or len(failure.data) < len(known.data):
            tally.failures[failure.signature] = failure


def _failure(data: bytes, error: BaseException, *, kind: str) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame
        for frame in frames
        if frame.filename.startswith(str(ROOT)) and ".venv" not in frame.filename
    ]
    last = next((f for f in reversed(ours) if "tests" not in Path(f.filename).parts), frames[-1])
    place = f"{Path(last.filename).name}:{last.name}"
    words = str(error)[:60] if kind == "fault" else ""
    return Failure(
        data=data,
        kind=kind,
        signature=" ".join(filter(None, (kind, type(error).__name__, place, words))),
        trace="".join(traceback.format_exception(error))[-6000:],
    )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"the input took longer than {seconds:g} s")

    if not seconds:
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # then the peak is of the process so far, and the figure an upper bound


def _memory_mib(name: str) -> float:
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0
