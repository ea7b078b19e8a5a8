"""Campaigns that are tests already, as rows: lying services, hostile records, bad runs, faults, weights.

    python -m tests.attacks --only suites --scale 0.1

Of a file of tests `tried` are the tests that ran and `uncaught` those that failed, by name in the note, as
are those that were skipped; each test says by itself what is to be refused, so that `accepted` and `refused`
stay 0. Of a parser that is fed damaged files all figures are of inputs. At a scale below 1 a drawn part is
run, of each file and each parser.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.attacks.rows import Row
from tests.contract.lies import LIES
from tests.contract.servers import ROOT
from tests.fuzz.all_targets import TARGETS
from tests.fuzz.campaign import Target, run_target

SUITES = {
    "lying services": "tests/contract/test_lies.py",
    "hostile records": "tests/contract/test_bad_input.py",
    "bad runs": "tests/contract/test_bad_runs.py",
    "faults": "tests/contract/test_faults.py",
    "kills": "tests/contract/test_kills.py",
    "orphans": "tests/contract/test_orphans.py",
    "drain": "tests/contract/test_drain.py",
}
PARSERS = (
    "input, JSON array",
    "input, JSON lines",
    "input, by its first byte",
    "input, gz and zst",
    "files of a run",
    "weights and their index",
)
MODES = [(name, transport) for name, lie in LIES.items() for transport in lie.transports()]

_MAX_NAMED = 10  # tests that a note names
_RAN = (0, 1)  # pytest's exit status where all tests passed, or some failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What pytest reports of its tests; `skipped` are their names with their reasons."""

    num_tests: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]


def read_report(path: Path) -> Outcome:
    """Returns what a report of pytest's `--junitxml` tells."""
    tree = ET.parse(path)
    failed: list[str] = []
    skipped: list[str] = []
    num_tests = 0
    for test in tree.iter("testcase"):
        num_tests += 1
        name = str(test.get("name"))
        if test.find("failure") is not None or test.find("error") is not None:
            failed.append(name)
        elif (skip := test.find("skipped")) is not None:
            skipped.append(f"{name}: {skip.get('message')}")
    return Outcome(num_tests=num_tests, failed=tuple(failed), skipped=tuple(skipped))


def row(name: str, outcome: Outcome, *, seconds: float, note: str = "") -> Row:
    """Returns the row of a file of tests."""
    told = [note] if note else []
    told += [f"{title} {names}" for title, names in _named(outcome)]
    return Row(
        name=name,
        tried=outcome.num_tests - len(outcome.skipped),
        uncaught=len(outcome.failed),
        seconds=seconds,
        note="; ".join(told),
    )


def _named(outcome: Outcome) -> list[tuple[str, str]]:
    kinds = (("failed", outcome.failed), ("skipped", outcome.skipped))
    return [
        (f"{len(names)} {title}:", ", ".join(names[:_MAX_NAMED])) for title, names in kinds if names
    ]


def _of_tests(name: str, folder: Path, *, seed: int, scale: float) -> Row:
    began = time.monotonic()
    tests: Sequence[str] = (SUITES[name],)
    if scale < 1:
        tests = _drawn(name, seed=seed, scale=scale)
    report = folder / f"{Path(SUITES[name]).stem}.xml"
    _pytest(*tests, f"--junitxml={report}")
    note = f"{len(MODES)} modes: {len(LIES)} lies by transport" if name == "lying services" else ""
    return row(name, read_report(report), seconds=time.monotonic() - began, note=note)


def _drawn(name: str, *, seed: int, scale: float) -> list[str]:
    listed = _pytest("--collect-only", SUITES[name]).splitlines()
    tests = [line for line in listed if line.startswith(f"{SUITES[name]}::")]
    rng = random.Random(f"{seed} {name}")
    return rng.sample(tests, max(1, round(len(tests) * scale)))


def _pytest(*arguments: str) -> str:
    """Returns what pytest prints.

    Raises:
        RuntimeError: it could not run the tests.
    """
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode not in _RAN:
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def _of_parser(target: Target, folder: Path, *, seed: int, scale: float) -> Row:
    began = time.monotonic()
    num_inputs = max(1, round(target.num_inputs * scale))
    tally = run_target(target, folder, seed=seed, num_inputs=num_inputs)
    return Row(
        name=f"damaged {target.name}",
        tried=tally.tried,
        refused=tally.refused,
        accepted=tally.accepted,
        faults=tally.faults,
        uncaught=tally.uncaught,
        seconds=time.monotonic() - began,
        note=", ".join(sorted(tally.failures)),
    )


def run(folder: Path, *, seed: int, scale: float) -> list[Row]:
    """Returns a row for each file of tests and each parser; belongs in the main thread."""
    rows = [_of_tests(name, folder, seed=seed, scale=scale) for name in SUITES]
    for name in PARSERS:
        place = folder / name.replace(" ", "-")
        place.mkdir()
        rows.append(_of_parser(TARGETS[name], place, seed=seed, scale=scale))
    return rows
