"""`python -m tests.fuzz`: damaged inputs against every parser at a trust boundary, in one table.

A failing input is written to a file named by its hash; `--replay FILE` feeds it again.
"""

import argparse
import dataclasses
import json
import logging
import os
import platform
import sys
import tempfile
from pathlib import Path

from tests.fuzz.campaign import ROOT, Tally, replayed, run_target

SEED = 20_261_127
RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"
FAILURES = ROOT / "runs" / "fuzz-failures"
_GOAL_INPUTS = 100_000
_ROW = "{:32} {:>8} {:>9} {:>9} {:>9} {:>5} {:>9} {:>9}"


# As tests/conftest.py: two BentoML apps in one process register the same metrics.
os.environ["BENTOML_CONFIG_OVERRIDES"] = '{"services":{"metrics":{"enabled":false}}}'
os.environ["BENTOML_DO_NOT_TRACK"] = "True"


def main() -> int:
    from tests.fuzz.all_targets import TARGETS

    options = _options()
    # What services log of damaged input is theirs to test; the table is what is looked at here.
    logging.disable(logging.CRITICAL)
    if options.replay is not None:
        return _replay(options.replay)
    print(
        _ROW.format(
            "parser", "inputs", "typed", "accepted", "uncaught", "5xx", "peak MiB", "slowest s"
        )
    )
    tallies: list[Tally] = []
    for name, target in TARGETS.items():
        if options.only and not any(word in name for word in options.only):
            continue
        with tempfile.TemporaryDirectory(prefix="a2l-fuzz-") as folder:
            num_inputs = max(1, int(target.num_inputs * options.scale))
            tally = run_target(target, Path(folder), seed=options.seed, num_inputs=num_inputs)
        tallies.append(tally)
        print(_row(tally), flush=True)
        _write_failures(tally)
    return _finish(tallies, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Feeds damaged inputs to every parser.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the whole campaign")
    parser.add_argument("--only", action="append", help="parsers whose name holds this word")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="feeds one failing input again")
    parser.add_argument("--out", type=Path, default=RESULT, help="the figures, as JSON")
    return parser.parse_args()


def _row(tally: Tally) -> str:
    return _ROW.format(
        tally.name,
        tally.tried,
        tally.refused,
        tally.accepted,
        tally.uncaught,
        tally.faults,
        f"{tally.peak_mib:.0f}",
        f"{tally.slowest_s:.2f}",
    )


def _write_failures(tally: Tally) -> None:
    for failure in tally.failures.values():
        FAILURES.mkdir(parents=True, exist_ok=True)
        path = FAILURES / failure.file_name(tally.name)
        path.write_bytes(failure.data)
        path.with_suffix(".txt").write_text(f"{failure.signature}\n\n{failure.trace}")
        print(
            f"    {failure.signature}\n    python -m tests.fuzz --replay {path.relative_to(ROOT)}"
        )


def _finish(tallies: list[Tally], options: argparse.Namespace) -> int:
    tried, uncaught = sum(t.tried for t in tallies), sum(t.uncaught for t in tallies)
    faults, peak = sum(t.faults for t in tallies), max(t.peak_mib for t in tallies)
    print(f"{tried} inputs: {uncaught} uncaught, {faults} server faults, peak {peak:.0f} MiB")
    is_whole = options.scale >= 1 and not options.only
    if is_whole:
        figures = [
            {k: v for k, v in dataclasses.asdict(t).items() if k != "failures"} for t in tallies
        ]
        claims = {
            "inputs": {"value": tried, "goal": _GOAL_INPUTS, "holds": tried >= _GOAL_INPUTS},
            "uncaught errors": {"value": uncaught, "goal": 0, "holds": uncaught == 0},
            "server faults for a caller's fault": {
                "value": faults,
                "goal": 0,
                "holds": faults == 0,
            },
        }
        versions = {"python": platform.python_version()}
        options.out.write_text(
            json.dumps(
                {
                    "name": "fuzz",
                    "seed": options.seed,
                    "versions": versions,
                    "rows": figures,
                    "claims": claims,
                },
                indent=1,
            )
            + "\n"
        )
    return 1 if uncaught or faults else 0


def _replay(path: Path) -> int:
    from tests.fuzz.all_targets import TARGETS

    name = path.stem.rpartition("-")[0]
    target = next(t for t in TARGETS.values() if t.name.replace(" ", "_") == name)
    with tempfile.TemporaryDirectory(prefix="a2l-fuzz-") as folder:
        tally = replayed(target, Path(folder), path.read_bytes())
    for failure in tally.failures.values():
        print(failure.trace)
    print(_row(tally))
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
