"""S1 to S13 of the first campaign before and after, by the same attacks:

    git worktree add ../before 3e0ace4
    python -m tests.attacks.findings --before ../before

attacks the services, the driver and `a2l serve` of both trees in turn, with this interpreter and its packages.
Without `--before` this tree alone is attacked. What each figure means stands in `FIGURES`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import RESULTS, Report, at_most, say
from tests.attacks.checkout import HERE, Checkout
from tests.attacks.finding_drivers import of_drivers, of_serve
from tests.attacks.finding_services import of_inner_llm, of_rewards


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was found, as a figure that may be `most`."""

    finding: str
    what: str
    most: float


PARTS = {
    "rewards": of_rewards,
    "inner-llm": of_inner_llm,
    "drivers": of_drivers,
    "serve": of_serve,
}
FIGURES = {
    "S1 s": Figure(
        finding="S1", what="s that /livez takes at most beside 1 MiB of structure", most=0.1
    ),
    "S1 MiB": Figure(finding="S1", what="MiB that 1 MiB of structure adds at most", most=64),
    "S2": Figure(
        finding="S2",
        what="s until a good image is scored beside two JPEGs of 8,000 scans (120 = not)",
        most=0.5,
    ),
    "S3": Figure(
        finding="S3",
        what="s until a review is answered beside one chat request with a large grammar (120 = not)",
        most=5,
    ),
    "S4": Figure(finding="S4", what="processes of vLLM 10 s after kill -9 of their worker", most=0),
    "S5 key": Figure(finding="S5", what="MiB that 60 calls of 30 MiB without a key add", most=50),
    "S5 head": Figure(finding="S5", what="MiB that 64 MiB of header lines add", most=8),
    "S5 half": Figure(finding="S5", what="of 100 half heads, open after 15 s", most=0),
    "S6 forged": Figure(
        finding="S6", what="lines of a log that a caller wrote (two requests)", most=0
    ),
    "S6 bytes": Figure(finding="S6", what="bytes of log for a request that is refused", most=500),
    "S7": Figure(
        finding="S7", what="connections that a proxy sees of a driver to 127.0.0.1", most=0
    ),
    "S8 shown": Figure(finding="S8", what="times that a key with a line end is printed", most=0),
    "S8 tracebacks": Figure(finding="S8", what="tracebacks for a key with a line end", most=0),
    "S9": Figure(finding="S9", what="5xx for four requests with images of broken EXIF", most=0),
    "S10": Figure(
        finding="S10", what="MiB that an answer of gzip in gzip in gzip adds to a driver", most=64
    ),
    "S11": Figure(finding="S11", what="orders to the terminal in what `a2l curate` prints", most=0),
    "S12": Figure(
        finding="S12", what="5xx, UNKNOWN for long deadlines and unreadable messages (23)", most=0
    ),
    "S13 strangers": Figure(
        finding="S13", what="services of a stranger that `a2l serve` calls ready", most=0
    ),
    "S13 orphans": Figure(
        finding="S13", what="processes 10 s after kill -9 of `a2l serve`", most=0
    ),
}


def measured(tree: Checkout) -> dict[str, float]:
    """Returns all figures of a tree."""
    figures: dict[str, float] = {}
    for name, part in PARTS.items():
        say(f"{tree.folder.name}: {name}")
        with tempfile.TemporaryDirectory(prefix="a2l-f", ignore_cleanup_errors=True) as folder:
            found = part(tree, Path(folder) / name)
        say(json.dumps(found))
        figures |= found
    assert figures.keys() == FIGURES.keys()
    return figures


def report(before: Mapping[str, float], after: Mapping[str, float]) -> Report:
    """Returns the table; what holds is claimed of `after`."""
    told = Report("attacks_findings", is_quick=not before)
    for name, figure in FIGURES.items():
        told.add_row(
            {
                "finding": figure.finding,
                "what": figure.what,
                "before": before.get(name),
                "after": after[name],
                "at_most": figure.most,
            }
        )
        told.add_claim(figure.what, at_most(after[name], figure.most))
    return told


def main() -> None:
    """Attacks both trees, and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="folder of the older tree, or its figures")
    parser.add_argument("--figures", type=Path, help="only writes the figures of the older tree")
    parser.add_argument("--out", type=Path, default=RESULTS / "attacks_findings.json")
    options = parser.parse_args()
    before: dict[str, float] = {}
    if options.before is not None and options.before.is_file():
        before = json.loads(options.before.read_bytes())
    elif options.before is not None:
        before = measured(Checkout(folder=options.before.resolve()))
    if options.figures is not None:
        options.figures.write_text(json.dumps(before, indent=2) + "\n")
        return
    after = measured(HERE)
    report(before, after).finish(options.out)
    sys.exit(0 if all(after[name] <= one.most for name, one in FIGURES.items()) else 1)


if __name__ == "__main__":
    main()
