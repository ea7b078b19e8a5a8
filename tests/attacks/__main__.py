"""`python -m tests.attacks`: the whole campaign of attacks, in one table.

Parts: `probes` (schemathesis on every route), `floods` (damaged requests, messages and images at live services),
`suites` (lying services, hostile records, bad runs, faults, weights) and `kills` (of each process of `a2l serve`).
What a good caller notices meanwhile is measured by `tests.attacks.beside`, what hours leave by `tests.attacks.soak`.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measuring import RESULTS, Claim, Report, at_least, at_most
from tests.attacks import floods, kills, probes, suites
from tests.attacks.rows import Row

MIN_REQUESTS, MIN_IMAGES, MIN_MODES = 100_000, 80_000, 50
_NUM_ROUNDS = 1  # of kills; the module itself runs more

PARTS: dict[str, Callable[[Path, int, float], list[Row]]] = {
    "probes": lambda folder, seed, scale: probes.run(folder, seed=seed, scale=scale),
    "floods": lambda folder, seed, scale: floods.run(folder, seed=seed, scale=scale),
    "suites": lambda folder, seed, scale: suites.run(folder, seed=seed, scale=scale),
    "kills": lambda folder, seed, _: kills.run(
        folder, seed=seed, num_rounds=_NUM_ROUNDS, engine="fake"
    ),
}


def claims(rows: Sequence[Row]) -> dict[str, Claim]:
    """Returns what the whole campaign has to reach."""

    def tried(*words: str) -> int:
        return sum(row.tried for row in rows if any(word in row.name for word in words))

    return {
        "REST requests": at_least(tried("bodies", "headers", "paths", "probes"), MIN_REQUESTS),
        "gRPC calls": at_least(tried("gRPC"), MIN_REQUESTS),
        "images": at_least(tried("images"), MIN_IMAGES),
        "lying modes": at_least(len(suites.MODES), MIN_MODES),
        "5xx for a caller's fault": at_most(sum(row.faults for row in rows), 0),
        "crashes": at_most(sum(row.crashes for row in rows), 0),
        "hangs": at_most(sum(row.hangs for row in rows), 0),
        "uncaught errors": at_most(sum(row.uncaught for row in rows), 0),
    }


def main() -> int:
    options = _options()
    is_whole = options.scale >= 1 and options.only is None
    report = Report("attacks", is_quick=not is_whole)
    rows: list[Row] = []
    began = time.monotonic()
    for name, run in PARTS.items():
        if options.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(prefix="a2l-attacks-") as folder:
            found = run(Path(folder), options.seed, options.scale)
        rows += found
        for row in found:
            report.add_row({"part": name, **dataclasses.asdict(row)})
    for claim, outcome in claims(rows).items() if is_whole else ():
        report.add_claim(claim, outcome)
    if is_whole:
        report.finish(options.out)
    print(f"{sum(row.tried for row in rows)} inputs in {time.monotonic() - began:.0f} s")
    unlike = [row for row in rows if not row.is_held]
    for row in unlike:
        print(f"did not hold: {row}")
    return 1 if unlike else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--seed", type=int, default=floods.SEED)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole campaign")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--out", type=Path, default=RESULTS / "attacks.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
