"""`python -m tests.attacks`: everything that attacks live services and runs, in one table.

What a good caller notices meanwhile is measured apart: `python -m tests.attacks.beside`.
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.measuring import RESULTS, Report, at_least, at_most, say, table
from tests.attacks import floods, probes, suites
from tests.attacks.flood_forms import IMAGES
from tests.attacks.rows import Row

SEED = 20_261_201
_NUM_KILL_ROUNDS = 3  # at scale 1
_MIN_REQUESTS, _MIN_IMAGES, _MIN_MODES = 100_000, 80_000, 50

Part = Callable[[Path, int, float], Iterable[Row]]


def _probes(folder: Path, seed: int, scale: float) -> Iterable[Row]:
    return probes.run(folder, seed=seed, scale=scale)


def _floods(folder: Path, seed: int, scale: float) -> Iterable[Row]:
    return floods.rows(folder, seed=seed, scale=scale)


def _suites(folder: Path, seed: int, scale: float) -> Iterable[Row]:
    return suites.run(folder, seed=seed, scale=scale)


def _kills(folder: Path, seed: int, scale: float) -> Iterable[Row]:
    from tests.attacks import kills

    num_rounds = max(1, round(_NUM_KILL_ROUNDS * scale))
    return kills.run(folder, seed=seed, num_rounds=num_rounds, engine="fake")


PARTS: dict[str, Part] = {
    "probes": _probes,
    "floods": _floods,
    "suites": _suites,
    "kills": _kills,
}


def claim_all(report: Report, rows: Sequence[Row]) -> bool:
    """States the claims of a whole campaign; returns whether they hold."""
    over_grpc = [one for one in floods.FLOODS if one.transport == "gRPC"]
    images = [one for one in floods.FLOODS if one.form == IMAGES]
    over_rest = [one for one in floods.FLOODS if one not in (*over_grpc, *images)]
    claims = {
        "damaged requests over REST": at_least(floods.tried(rows, over_rest), _MIN_REQUESTS),
        "damaged calls over gRPC": at_least(floods.tried(rows, over_grpc), _MIN_REQUESTS),
        "damaged images": at_least(floods.tried(rows, images), _MIN_IMAGES),
        "modes of lying services": at_least(len(suites.MODES), _MIN_MODES),
        "answers that are faults of a service": at_most(sum(one.faults for one in rows), 0),
        "ended processes, and changed answers": at_most(sum(one.crashes for one in rows), 0),
        "inputs without an answer in time": at_most(sum(one.hangs for one in rows), 0),
        "errors that nobody caught": at_most(sum(one.uncaught for one in rows), 0),
    }
    for name, claim in claims.items():
        report.add_claim(name, claim)
    return all(claim.holds for claim in claims.values())


def main() -> int:
    """Prints the rows as they come; 1 where anything happened that should not."""
    options = _options()
    is_whole = options.scale >= 1 and not options.only
    report = Report("attack", is_quick=not is_whole)
    rows: list[Row] = []
    for name, part in PARTS.items():
        if options.only and name not in options.only:
            continue
        say(f"{name} ...")
        with tempfile.TemporaryDirectory(prefix="a2l-attack-") as folder:
            for row in part(Path(folder), options.seed, options.scale):
                rows.append(row)
                report.add_row({"part": name, **dataclasses.asdict(row)})
    holds = all(row.is_held for row in rows)
    if is_whole:
        holds &= claim_all(report, rows)
        report.finish(options.out)
    else:
        print(table(report.rows))
    for row in rows:
        if not row.is_held:
            print(f"does not hold: {row.name}: {row.note}")
    return 0 if holds else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole campaign")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", action="append", choices=PARTS, help="a part")
    parser.add_argument("--out", type=Path, default=RESULTS / "attack.json", help="the figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
