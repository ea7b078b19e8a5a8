"""What a good caller notices of each attack, and what the attack costs: `python -m tests.attacks.beside`.

A good caller asks at a steady rate; his answers beside an attack that another process keeps up, one round after the
other, are held against those in the quiet whiles before each. Attackers run at low priority, as if on machines of their own.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import RESULTS, Report, at_most, percentile
from tests.attacks.onslaughts import ONSLAUGHTS, attacked, is_fault
from tests.attacks.steady import Caller, Heard, calling
from tests.attacks.world import KINDS, Attacked, Engine, peak_of, services

RATES = {"question-reward": 20.0, "answer-reward": 20.0, "inner-llm": 4.0}
MAX_RATIO, MAX_ADDED_MIB, MAX_ADDED_WITHOUT_KEY_MIB = 2.0, 64.0, 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """One attack on one service."""

    service: str
    name: str
    finding: str
    answered: Counter[str]
    usual: Heard
    beside: Heard
    added_mib: float
    descriptors: int

    @property
    def ratio(self) -> float:
        return percentile(self.beside.seconds, 0.95) / percentile(self.usual.seconds, 0.95)

    @property
    def num_faults(self) -> int:
        """Answers 5xx to the attack or beside it; deadlines that a caller's own lateness met count too."""
        codes = (*self.answered.elements(), *self.beside.others.elements())
        return sum(map(is_fault, codes))

    def row(self) -> dict[str, str | int | float | bool | None]:
        return {
            "attack": self.name,
            "finding": self.finding,
            "service": self.service,
            "answered": ", ".join(f"{num} x {code}" for code, num in self.answered.items()),
            "usual_p95_ms": percentile(self.usual.seconds, 0.95) * 1e3,
            "beside_p95_ms": percentile(self.beside.seconds, 0.95) * 1e3,
            "ratio": self.ratio,
            "slowest_ms": max(self.beside.seconds) * 1e3,
            "good": len(self.beside.seconds),
            "equal": self.beside.num_equal,
            "not_answered": ", ".join(f"{n} x {code}" for code, n in self.beside.others.items()),
            "added_mib": self.added_mib,
            "descriptors": self.descriptors,
        }


async def measured(one: Attacked, names: Sequence[str], *, seconds: float) -> list[Noticed]:
    """Returns what was noticed of each attack on a service; what is usual was heard in all quiet whiles between."""
    noticed: list[Noticed] = []
    usual = Heard()
    site = one.site
    async with calling(site, rate=RATES[site.kind]) as caller:
        await asyncio.sleep(2)
        for name in names:
            usual.seconds += (await _heard(caller, asyncio.sleep(seconds))).seconds
            async with peak_of(one) as peak:
                told: list[Counter[str]] = []

                async def attack(name: str = name, told: list[Counter[str]] = told) -> None:
                    told.append(await attacked(name, site, seconds=seconds))

                beside = await _heard(caller, attack())
            noticed.append(
                Noticed(
                    service=site.kind,
                    name=name,
                    finding=ONSLAUGHTS[name].finding,
                    answered=told[0],
                    usual=usual,
                    beside=beside,
                    added_mib=peak.added_mib,
                    descriptors=peak.most_descriptors,
                )
            )
            await asyncio.sleep(0.5)
    return noticed


async def _heard(caller: Caller, meanwhile: Awaitable[None]) -> Heard:
    """Returns what the caller heard while something was waited for."""
    caller.heard = Heard()
    await meanwhile
    return caller.heard


def report(noticed: Sequence[Noticed], *, is_quick: bool) -> Report:
    """Returns the table and its claims."""
    told = Report("attacks_beside", is_quick=is_quick)
    for one in noticed:
        told.add_row(one.row())
    mebibytes = [one.added_mib for one in noticed if one.finding == "S1"]
    keyless = [one.added_mib for one in noticed if "without a key" in one.name]
    worst = max(one.ratio for one in noticed)
    told.add_claim(
        "p95 of a good request beside any attack, times its usual", at_most(worst, MAX_RATIO)
    )
    told.add_claim("MiB that 1 MiB of anything adds", at_most(max(mebibytes), MAX_ADDED_MIB))
    told.add_claim(
        "MiB that 60 calls of 30 MiB without a key add",
        at_most(max(keyless), MAX_ADDED_WITHOUT_KEY_MIB),
    )
    told.add_claim("5xx for a caller's fault", at_most(sum(o.num_faults for o in noticed), 0))
    unlike = sum(one.beside.others["differs"] for one in noticed)
    told.add_claim("good answers that differ", at_most(unlike, 0))
    return told


def main() -> None:
    options = _options()
    noticed: list[Noticed] = []
    for kind in options.kinds:
        with (
            tempfile.TemporaryDirectory(prefix="a2l-attacks-") as folder,
            services(Path(folder), kinds=(kind,), engine=options.engine) as running,
        ):
            names = [
                name
                for name, attack in ONSLAUGHTS.items()
                if kind in attack.kinds and (not options.only or options.only in name)
            ]
            noticed += asyncio.run(measured(running[0], names, seconds=options.seconds))
            print(f"{kind}: {running[0].num_faults_logged()} faults logged", file=sys.stderr)
    is_whole = not options.only and options.engine == "real" and options.kinds == list(KINDS)
    report(noticed, is_quick=not is_whole).finish(options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a good caller notices of attacks.")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each while")
    parser.add_argument("--engine", choices=Engine.__args__, default="real")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--only", default="", help="attacks whose name holds this")
    parser.add_argument("--out", type=Path, default=RESULTS / "attacks_beside.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
