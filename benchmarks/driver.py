"""What the curation driver costs beside services that cost nothing: from input file to stored part.

    python benchmarks/driver.py [--quick] [--out FILE] [--peer-python PYTHON]

Each run is `curate` in a process of its own, against the stub of `stub_service.py` in another: two cores
in all. Records are shaped as LLaVA's 158,000 are. Speed: images that the stub knows by hash (2 records
each), or 100 KB of distinct images sent; the clock runs from the opening of the input to the last stored
part of the question stage. Memory: the kernel's high-water mark of each stage. A peer, Ray Data's
`map_batches` with an httpx client, does the bare minimum on the same stub and files where `--peer-python`
names an interpreter that has `ray[data]` and httpx. A shared machine changes its speed: what is compared
takes turns, the best round counts, each round is a row. `--quick`: fewer records, no memory, no peer.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it sees its folder only

from align2llava.pipeline.curation.input.files import read_elements
from benchmarks.driver_floor import pieces
from benchmarks.driver_runs import Asking, Run, Transport, curated, remove_run
from benchmarks.driver_world import World, WorldSize, remove_world, write_world
from benchmarks.measuring import (
    Claim,
    NotRun,
    Report,
    argument_parser,
    at_least,
    at_most,
    say,
)
from benchmarks.stub_load import grpc_items_per_s, rest_items_per_s
from benchmarks.stub_process import running_stub

KNOWN_GOALS: dict[Transport, float] = {"grpc": 5_000, "rest": 1_500}
SENT_GOALS: dict[Transport, float] = {"grpc": 400, "rest": 250}
IMAGE_BYTES = 100_000
NUM_LLAVA = 158_000
LLAVA = "158,000 records"
_PEER = Path(__file__).with_name("driver_peer.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many records a run measures; those of the peer are JSON lines of `known`."""

    stub_messages: int
    floor: int
    known: int
    sent: int
    llava: int
    rounds: int  # of what is compared with the peer and of `select`: the machine is shared
    memory: Sequence[int]  # the claims are about the last against the first


FULL = Scale(
    stub_messages=3_000,
    floor=4_000,
    known=40_000,
    sent=3_000,
    llava=NUM_LLAVA,
    rounds=3,
    memory=(50_000, 1_000_000),
)
QUICK = Scale(
    stub_messages=500, floor=1_000, known=10_000, sent=600, llava=10_000, rounds=1, memory=()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """What every part needs."""

    report: Report
    scale: Scale
    folder: Path

    @contextmanager
    def world(self, size: WorldSize, *, dialect: Literal["json", "jsonl"]) -> Generator[World]:
        """Gives an input, removed afterwards."""
        say(f"writing {size.num_records} records")
        place = Path(tempfile.mkdtemp(dir=self.folder))
        world = write_world(place, size, dialect=dialect)
        try:
            yield world
        finally:
            remove_world(world)

    def run(self, world: World, asking: Asking, *, part: str) -> Run:
        """Curates, tells, and leaves nothing behind."""
        run_dir = world.raw.with_name("run")
        run = curated(world, run_dir, asking)
        remove_run(run_dir)
        self.report.add_row({"part": part, "path": asking.transport, **run.row()})
        return run

    def stub(self) -> None:
        """Measures the stub alone."""
        num_messages = self.scale.stub_messages
        with running_stub("all") as stub:
            grpc = asyncio.run(grpc_items_per_s(stub, num_messages=num_messages))
            rest = asyncio.run(rest_items_per_s(stub, num_messages=num_messages))
        for path, items_per_s in (("grpc", grpc), ("rest", rest)):
            self.report.add_row({"part": "stub alone", "path": path, "items_per_s": items_per_s})

    def floor(self) -> None:
        """Measures what a record costs at least."""
        with self.world(WorldSize(num_records=self.scale.floor), dialect="jsonl") as world:
            found = pieces(world)
        for piece in found:
            self.report.add_row(piece.row())
        total = sum(piece.us * piece.times_a_record for piece in found)
        self.report.add_row({"part": "floor", "path": "all of it", "us_a_record": total})

    def known(self, peer_python: Path | None) -> None:
        """Measures images known by hash, over both transports, and the peer, in turns."""
        ours: dict[Transport, list[float]] = {transport: [] for transport in KNOWN_GOALS}
        theirs: list[float] = []
        lacking = NotRun(why="--quick, or no --peer-python")
        with self.world(WorldSize(num_records=self.scale.known), dialect="jsonl") as world:
            for _ in range(self.scale.rounds):
                for transport, speeds in ours.items():
                    asking = Asking(transport=transport, holds="all", answer=True)
                    run = self.run(world, asking, part="known by hash")
                    speeds.append(run.records_per_s)
                if peer_python is not None:
                    found = self._peer(world, peer_python)
                    if isinstance(found, NotRun):
                        lacking = found
                    else:
                        theirs.append(found)
        best = f"best of {self.scale.rounds}"
        for transport, goal in KNOWN_GOALS.items():
            self.report.add_claim(
                f"{transport}, images known by hash: records/s, file to stored part, {best}",
                at_least(max(ours[transport]), goal),
            )
        ratio = at_least(max(ours["rest"]) / max(theirs), 1.0) if theirs else lacking
        self.report.add_claim(f"rest, images known by hash: records/s / Ray Data's, {best}", ratio)

    def _peer(self, world: World, python: Path) -> float | NotRun:
        with running_stub("all") as stub:
            plan = {
                "raw": str(world.raw),
                "images": str(world.images),
                "url": stub.url("question-reward", "rest"),
                "out": str(world.raw.with_name("peer")),
                "num_records": world.size.num_records,
            }
            say("Ray Data")
            process = subprocess.run(
                [str(python), str(_PEER), json.dumps(plan)],
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
        if process.returncode:
            return NotRun(why=f"the peer ended with {process.returncode}")
        found = json.loads(process.stdout.splitlines()[-1])
        theirs = world.size.num_records / found["seconds"]
        name = f"Ray Data {found['ray']} map_batches, httpx"
        self.report.add_row({"part": name, "path": "rest", "records_per_s": theirs})
        return theirs

    def sent(self) -> None:
        """Measures distinct images of 100 KB, each sent once."""
        size = WorldSize(num_records=self.scale.sent, records_per_image=1, image_bytes=IMAGE_BYTES)
        with self.world(size, dialect="jsonl") as world:
            for transport, goal in SENT_GOALS.items():
                asking = Asking(transport=transport, holds="seen", answer=False)
                run = self.run(world, asking, part="100 KB sent")
                self.report.add_claim(
                    f"{transport}, 100 KB images sent: records/s, file to stored part",
                    at_least(run.records_per_s, goal),
                )

    def llava(self) -> None:
        """Measures reading, selecting and selecting again over as many records as LLaVA has."""
        with self.world(WorldSize(num_records=self.scale.llava), dialect="json") as world:
            self._read(world)
            rounds = [self._select_round(world) for _ in range(self.scale.rounds)]
        selections, selects = zip(*rounds, strict=True)
        best = f"best of {self.scale.rounds}"
        for claim, value, goal in (
            ("selection, seconds", min(selections), 0.5),
            ("a2l select with other ratios, seconds in all", min(selects), 3.0),
        ):
            self.report.add_claim(f"{LLAVA}: {claim}, {best}", self._llava_claim(value, goal))

    def _select_round(self, world: World) -> tuple[float, float]:
        """Returns the seconds of the selections of a whole run, and of `a2l select` on it."""
        run_dir = world.raw.with_name("run")
        run = curated(world, run_dir, Asking(transport="grpc", holds="all", answer=True))
        found = {"selection_s": run.selection_s, "select_s": _select_s(run_dir)}
        remove_run(run_dir)
        self.report.add_row({"part": "LLaVA's size", "path": "grpc", **run.row(), **found})
        return found["selection_s"], found["select_s"]

    def _llava_claim(self, value: float, goal: float) -> Claim | NotRun:
        if self.scale.llava != NUM_LLAVA:
            return NotRun(why="--quick")
        return at_most(value, goal)

    def _read(self, world: World) -> None:
        speeds: dict[str, float] = {}
        num_records = world.size.num_records
        for name in ("driver's reader", "orjson, whole file"):
            began_s = time.perf_counter()
            if name == "driver's reader":
                num_read = sum(1 for _ in read_elements(world.raw, "json"))
            else:
                num_read = len(orjson.loads(world.raw.read_bytes()))
            assert num_read == num_records
            speeds[name] = num_records / (time.perf_counter() - began_s)
            row = {"part": "JSON array read", "path": name, "records": num_records}
            self.report.add_row({**row, "records_per_s": speeds[name]})
        self.report.add_claim(
            "JSON array read, records/s", at_least(speeds["driver's reader"], 60_000)
        )

    def memory(self) -> None:
        """Measures the peaks of a short and a long run, four records an image."""
        runs: list[Run] = []
        for num_records in self.scale.memory:
            size = WorldSize(num_records=num_records, records_per_image=4)
            with self.world(size, dialect="json") as world:
                asking = Asking(transport="grpc", holds="all", answer=True)
                runs.append(self.run(world, asking, part="memory"))
        for claim, outcome in memory_claims(runs).items():
            self.report.add_claim(claim, outcome)


def memory_claims(runs: Sequence[Run]) -> dict[str, Claim | NotRun]:
    """Returns what must hold of the last run beside the first."""
    ratio = "1,000,000 records: peak memory of the streaming stages / that of 50,000"
    peak = "1,000,000 records: peak memory of the whole run, MB"
    if not runs:
        return {name: NotRun(why="--quick") for name in (ratio, peak)}
    short, *_, long = runs
    return {
        ratio: at_most(long.streaming_peak_mb / short.streaming_peak_mb, 1.2),
        peak: at_most(long.outcome.peak_mb, 600),
    }


def _select_s(run_dir: Path) -> float:
    """Returns what `a2l select` with other ratios takes, the start of its process included."""
    began_s = time.perf_counter()
    subprocess.run(
        [
            str(Path(sys.executable).with_name("a2l")),
            *("select", str(run_dir), "--question-keep", "0.2", "--answer-keep", "0.25"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began_s


def main() -> None:
    """Measures, prints the table and writes the JSON."""
    parser = argument_parser("driver", __doc__ or "")
    parser.add_argument("--peer-python", type=Path, help="an interpreter with ray[data] and httpx")
    arguments = parser.parse_args()
    is_quick: bool = arguments.quick
    report = Report("driver", is_quick=is_quick)
    with tempfile.TemporaryDirectory(prefix="driver-") as folder:
        measuring = Measuring(report=report, scale=QUICK if is_quick else FULL, folder=Path(folder))
        measuring.stub()
        measuring.floor()
        measuring.known(None if is_quick else arguments.peer_python)
        measuring.sent()
        measuring.llava()
        measuring.memory()
    report.finish(arguments.out)


if __name__ == "__main__":
    main()
