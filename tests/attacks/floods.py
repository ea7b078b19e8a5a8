"""Floods of damaged traffic against live services that ask for a key: REST, gRPC, images.

    python -m tests.attacks.floods --scale 0.1 --only gRPC

Eight connections at once send what `tests/fuzz/mutator.py` makes of good requests. `refused` are answers of the
table (of images: items with an error), and connections that end behind
bytes that are no whole request, or a head beyond its bound; `faults`
are answers that no caller may cause; `hangs` are inputs without an answer within 20 seconds; `crashes` are
processes that ended, and known requests that are answered otherwise than before; `uncaught` are lines of a
service's log that tell of a fault of its own. The fake engine has no chat: bodies of that route are read and looked
at, then refused. The first input of each signature is kept in runs/attack-failures.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.measuring import say
from tests.attacks import flood_forms as forms
from tests.attacks.flood_forms import ANSWER_S, Flood, RefusedWholeError, Send
from tests.attacks.rows import Row
from tests.attacks.steady import Caller, connected
from tests.attacks.world import KINDS, MIB, Attacked, services
from tests.contract.servers import ROOT
from tests.fuzz.campaign import Failure, ServerFault, Verdict
from tests.fuzz.mutator import mutated

SEED = 20_261_201
FAILURES = ROOT / "runs" / "attack-failures"
NUM_CONNECTIONS = 8
_REWARD_KINDS = ("question-reward", "answer-reward")

FLOODS: Sequence[Flood] = (
    *(forms.bodies(kind, packed=packed) for kind in KINDS for packed in (False, True)),
    *(forms.heads(kind, of="headers") for kind in KINDS),
    *(forms.heads(kind, of="paths") for kind in KINDS),
    *(forms.calls(kind) for kind in KINDS),
    *(forms.streams(kind) for kind in _REWARD_KINDS),
    *(forms.images(kind) for kind in _REWARD_KINDS),
)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of a flood's inputs; `failures` holds the first of each signature."""

    tried: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    hangs: int = 0
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure])

    def fail(self, inputs: Sequence[bytes], error: Exception) -> None:
        """Takes inputs that were not answered as they must."""
        is_hang = isinstance(error, TimeoutError)
        self.hangs += is_hang
        self.verdicts[Verdict.FAULT] += not is_hang
        words = "" if is_hang else str(error)[:60]
        signature = f"{type(error).__name__} {words}".strip()
        failure = Failure(
            data=b"\n".join(inputs),
            kind="hang" if is_hang else "fault",
            signature=signature,
            trace=str(error),
        )
        self.failures.setdefault(signature, failure)


def batches(flood: Flood, rng: random.Random, *, num_inputs: int) -> Iterator[list[bytes]]:
    """Yields inputs by request; the same numbers give the same inputs."""
    left = num_inputs
    while left > 0:
        inputs = [mutated(rng.choice(flood.seeds), rng) for _ in range(min(left, flood.at_once))]
        left -= len(inputs)
        yield inputs


async def try_one(send: Send, inputs: Sequence[bytes], tally: Tally) -> None:
    """Sends inputs together, or each alone where one of them has them all refused."""
    try:
        async with asyncio.timeout(ANSWER_S):
            verdicts = await send(inputs)
    except RefusedWholeError:
        for one in inputs:
            await try_one(send, [one], tally)
        return
    except (ServerFault, OSError, EOFError) as error:  # a timeout is an OSError
        tally.fail(inputs, error)
    else:
        tally.verdicts.update(verdicts)
    tally.tried += len(inputs)


async def flooded(flood: Flood, attacked: Attacked, *, seed: int, num_inputs: int) -> Tally:
    """Sends a flood to its end; returns what became of the inputs."""
    tally = Tally()
    inputs = batches(flood, random.Random(f"{seed} {flood.name}"), num_inputs=num_inputs)

    async def one() -> None:
        async with flood.opened(attacked.site) as send:
            for batch in inputs:
                await try_one(send, batch, tally)

    async with asyncio.TaskGroup() as connections:
        for _ in range(NUM_CONNECTIONS):
            connections.create_task(one())
    return tally


async def row(flood: Flood, attacked: Attacked, *, seed: int, num_inputs: int) -> Row:
    """Returns the row of a flood against a service."""
    async with connected(attacked.site) as caller:
        pids, held, faults = (
            set(attacked.processes()),
            attacked.held_bytes(),
            attacked.num_faults_logged(),
        )
        began = time.monotonic()
        tally = await flooded(flood, attacked, seed=seed, num_inputs=num_inputs)
        seconds = time.monotonic() - began
        crashes = len(pids - set(attacked.processes())) + await _num_unlike(caller)
    told = [f"RSS {held / MIB:.0f} -> {attacked.held_bytes() / MIB:.0f} MiB"]
    told.append(f"{tally.tried / flood.at_once / seconds:.0f} requests/s")
    told += [f"{one.signature} ({_written(one, flood.name)})" for one in tally.failures.values()]
    return Row(
        name=flood.name,
        tried=tally.tried,
        refused=tally.verdicts[Verdict.REFUSED],
        accepted=tally.verdicts[Verdict.ACCEPTED],
        faults=tally.verdicts[Verdict.FAULT],
        crashes=crashes,
        hangs=tally.hangs,
        uncaught=attacked.num_faults_logged() - faults,
        seconds=seconds,
        note="; ".join(told),
    )


async def _num_unlike(caller: Caller) -> int:
    try:
        return await caller.num_unlike()
    except (httpx.HTTPStatusError, httpx.TransportError):
        return 1


def _written(failure: Failure, name: str) -> str:
    FAILURES.mkdir(parents=True, exist_ok=True)
    path = FAILURES / failure.file_name(name)
    path.write_bytes(failure.data)
    path.with_suffix(".txt").write_text(f"{failure.signature}\n\n{failure.trace}\n")
    return path.name


def rows(folder: Path, *, seed: int, scale: float, only: str = "") -> Iterator[Row]:
    """Yields the row of each flood whose name holds `only`, service by service."""
    for kind in KINDS:
        wanted = [one for one in FLOODS if one.kind == kind and only in one.name]
        if not wanted:
            continue
        with services(folder, kinds=(kind,), engine="fake") as (attacked,):
            for flood in wanted:
                num_inputs = max(NUM_CONNECTIONS, round(flood.num_inputs * scale))
                yield asyncio.run(row(flood, attacked, seed=seed, num_inputs=num_inputs))


def run(folder: Path, *, seed: int, scale: float) -> list[Row]:
    """Returns a row for each flood, and says each when it is there."""
    found: list[Row] = []
    for one in rows(folder, seed=seed, scale=scale):
        say(str(one))
        found.append(one)
    return found


def main() -> int:
    """Prints the rows; 1 where anything happened that should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.floods", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", help="floods whose name holds this")
    options = parser.parse_args()
    is_held = True
    with tempfile.TemporaryDirectory(prefix="a2l-floods-") as folder:
        for one in rows(Path(folder), seed=options.seed, scale=options.scale, only=options.only):
            print(one, flush=True)
            is_held &= one.is_held
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
