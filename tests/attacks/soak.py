"""Hours of load with attacks in between: what grows, what is left, whether rewards stay: `python -m tests.attacks.soak`.

The three services are asked at 80 % of what they answer together. Of each minute the last 20 s belong to one
attack beside the load, on each service that it is for in turn. Rows are in `OUT.part.json` when a tenth ends, and
samples in `OUT.samples.jsonl` at once; `OUT` itself is written by a soak that is whole.
"""

import argparse
import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path

from benchmarks.measuring import RESULTS, say
from tests.attacks.onslaughts import ONSLAUGHTS, PATIENCE_S, attacked
from tests.attacks.soak_seen import LOAD, NUM_WINDOWS, WHOLE_MINUTES, Diary, Soaked, claims
from tests.attacks.steady import Caller, Heard, calling, connected
from tests.attacks.world import Attacked, Engine, services

_WARM_S, _CAPACITY_S, _REST_S = 5.0, 20.0, 5.0
_AT_ONCE = 4  # of a service's callers while its capacity is measured
_SAMPLE_S = 10.0
_MINUTE_S, _ATTACK_S = 60.0, 20.0


async def soak(
    running: Sequence[Attacked],
    names: Sequence[str],
    *,
    seconds: float,
    diary: Diary,
    pace: float = 1.0,
) -> list[Soaked]:
    """Returns what was seen; what came until then where it is cancelled. `pace` shortens minutes and measurements."""
    soaked = [Soaked(attacked=one) for one in running]
    try:
        await _measure_capacity(soaked, pace=pace)
        await _rest(soaked)
        async with _loaded(soaked) as callers:
            others = [
                asyncio.create_task(_watch(soaked, diary=diary, seconds=seconds)),
                asyncio.create_task(_attack(soaked, names, pace=pace)),
            ]
            try:
                await _pass_windows(soaked, callers, others, seconds=seconds, diary=diary)
            finally:
                for other in others:
                    other.cancel()
                await asyncio.wait(others)
        await _rest(soaked)
    except asyncio.CancelledError:
        say("stopped; what was seen is told")
    return soaked


async def _pass_windows(
    soaked: Sequence[Soaked],
    callers: Sequence[Caller],
    others: Sequence[asyncio.Task[None]],
    *,
    seconds: float,
    diary: Diary,
) -> None:
    """Waits for one tenth after the other; a watch or an attack that ends meanwhile ends the soak."""
    began = time.monotonic()
    for number in range(NUM_WINDOWS):
        for one, caller in zip(soaked, callers, strict=True):
            caller.heard = Heard()
            one.windows.append(caller.heard)
        ends = began + seconds * (number + 1) / NUM_WINDOWS
        try:
            done, _ = await asyncio.wait(
                others, timeout=ends - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            diary.note_window(soaked, number)
        if done:
            say(f"stopped: {[task.exception() for task in done]}")
            return


async def _rest(soaked: Sequence[Soaked]) -> None:
    """Waits until what callers held is given back, and takes what is held then."""
    await asyncio.sleep(_REST_S)
    for one in soaked:
        one.rests.append(one.rest())


async def _measure_capacity(soaked: Sequence[Soaked], *, pace: float) -> None:
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(connected(one.attacked.site)) for one in soaked]
        for seconds in (_WARM_S * pace, _CAPACITY_S * pace):
            for caller in callers:
                caller.heard = Heard()
            await asyncio.gather(
                *(caller.work_off(seconds=seconds, num_at_once=_AT_ONCE) for caller in callers)
            )
        for one, caller in zip(soaked, callers, strict=True):
            one.capacity = len(caller.heard.seconds) / (_CAPACITY_S * pace)
            say(f"{one.attacked.site.kind}: {one.capacity:.1f} answers a second at most")


@asynccontextmanager
async def _loaded(soaked: Sequence[Soaked]) -> AsyncGenerator[list[Caller]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(calling(one.attacked.site, rate=LOAD * one.capacity))
            for one in soaked
        ]


async def _watch(soaked: Sequence[Soaked], *, diary: Diary, seconds: float) -> None:
    began = time.monotonic()
    while True:
        at = min(0.9999, (time.monotonic() - began) / seconds)
        for one in soaked:
            one.look(at=at)
        diary.note_samples(soaked)
        await asyncio.sleep(min(_SAMPLE_S, seconds / NUM_WINDOWS / 4))


async def _attack(soaked: Sequence[Soaked], names: Sequence[str], *, pace: float) -> None:
    attack_s = _ATTACK_S * pace
    for number, name in enumerate(cycle(names)):
        await asyncio.sleep(_MINUTE_S * pace - attack_s)
        for one in soaked:
            if number == len(names) and one.samples:
                one.round_ended_at = one.samples[-1].at
            if one.attacked.site.kind in ONSLAUGHTS[name].kinds:
                await attack_once(one, name, seconds=attack_s / len(ONSLAUGHTS[name].kinds))


async def attack_once(one: Soaked, name: str, *, seconds: float) -> None:
    """Attacks one service, and counts an attack that fails; the soak goes on."""
    one.num_attacks += 1
    try:
        async with asyncio.timeout(seconds + 2 * PATIENCE_S):
            one.told += await attacked(name, one.attacked.site, seconds=seconds)
    except (AssertionError, TimeoutError) as error:
        one.failed_attacks.append(name)
        say(f"{one.attacked.site.kind}: {name} failed: {error!r}")


def left_files(folder: Path, before: set[Path]) -> list[str]:
    """Returns the files of a folder that were not there before, but for logs."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path not in before and not path.is_dir()
    )


def main() -> None:
    options = _options()
    seconds = options.minutes * 60
    diary = Diary(options.out, window_s=seconds / NUM_WINDOWS)
    with tempfile.TemporaryDirectory(prefix="a2l-soak-") as name:
        folder = Path(name)
        with services(folder, engine=options.engine) as running:
            before = set(folder.rglob("*"))
            began = time.monotonic()
            soaked = asyncio.run(_until_told(running, seconds=seconds, diary=diary))
            minutes = (time.monotonic() - began) / 60
        left = {one.site.kind: left_files(folder / one.site.kind, before) for one in running}
        for one in soaked:
            diary.report.add_row(one.summary())
        for claim, outcome in claims(soaked, minutes=minutes, left=left).items():
            diary.report.add_claim(claim, outcome)
    for kind, names in left.items():
        say(f"{kind}: left {', '.join(names) or 'nothing'}")
    is_whole = all(len(one.rests) == 2 for one in soaked) and options.minutes >= WHOLE_MINUTES
    if is_whole and options.engine == "real":
        diary.report.count_as_whole()
        diary.report.finish(options.out)
        diary.part.unlink()
    else:
        diary.report.finish(diary.part)


async def _until_told(running: Sequence[Attacked], *, seconds: float, diary: Diary) -> list[Soaked]:
    """Soaks until the end, or until a signal says to tell what was seen."""
    soaking = asyncio.create_task(soak(running, list(ONSLAUGHTS), seconds=seconds, diary=diary))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, soaking.cancel)
    return await soaking


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load, and attacks in between.")
    parser.add_argument("--minutes", type=float, default=WHOLE_MINUTES)
    parser.add_argument("--engine", choices=Engine.__args__, default="real")
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
