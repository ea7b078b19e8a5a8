"""`python -m tests.cases [NAME ...] [--json]`: every case of ../shared/cases, before and now, in one table."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.cases.all_cases import CASES, run_all
from tests.cases.bench import SHARED
from tests.cases.case import Result

_WIDTHS = (21, 58, 68, 5)


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the cases of ../shared/cases.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="these only")
    parser.add_argument("--json", action="store_true", help="one JSON object, nothing cut off")
    options = parser.parse_args()
    names: list[str] = options.names or list(CASES)
    if not SHARED.is_dir() or unknown(names):
        print(f"no such case: {', '.join(unknown(names)) or SHARED}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="a2l-cases-") as folder:
        results = []
        for result in run_all(names, Path(folder)):
            results.append(result)
            if not options.json:
                print_row(result, is_first=len(results) == 1)
    num_holding = sum(result.holds for result in results)
    if options.json:
        cases = [result.as_json() for result in results]
        print(json.dumps({"holding": num_holding, "of": len(results), "cases": cases}, indent=2))
    else:
        print(f"{num_holding} of {len(results)} cases hold")
    return 0 if num_holding == len(results) else 1


def unknown(names: list[str]) -> list[str]:
    return [name for name in names if name not in CASES]


def print_row(result: Result, *, is_first: bool) -> None:
    if is_first:
        print(row("case", "before (3e0ace4)", "now", "holds"))
        print(row(*("-" * width for width in _WIDTHS)))
    for part in range(4 if not result.holds else 1):
        print(cut(result, part), flush=True)


def cut(result: Result, part: int) -> str:
    """One line of a case's row; what does not hold is told at length."""
    now = " ".join(result.now.split())
    first, width = part == 0, _WIDTHS[2]
    return row(
        result.name if first else "",
        result.before if first else result.before[part * _WIDTHS[1] :],
        now[part * width :],
        ("yes" if result.holds else "NO") if first else "",
    )


def row(*cells: str) -> str:
    return " | ".join(
        cell[:width].ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)
    ).rstrip()


if __name__ == "__main__":
    sys.exit(main())
