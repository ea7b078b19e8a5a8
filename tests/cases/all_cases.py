"""Every case, and how one is run; what was seen before stands in the case's own how.md."""

from collections.abc import Iterator
from pathlib import Path

from tests.cases import inputs, machine, requests, trainings
from tests.cases.bench import SHARED, Bench
from tests.cases.case import Case, Result, fact

CASES: dict[str, Case] = {
    case.name: case
    for case in sorted(
        (*inputs.CASES, *machine.CASES, *requests.CASES, *trainings.CASES), key=lambda c: c.name
    )
}


def run_case(case: Case, at: Bench) -> Result:
    """Runs one; an error of its own is a fact that does not hold."""
    folder = SHARED / case.name
    before = seen_before(folder)
    facts = []
    try:
        facts += case.look(at, folder)
    except (OSError, ValueError, LookupError, AssertionError) as error:
        seen = f"{type(error).__name__}: {error}"
        facts.append(fact("the case can be run", holds=False, seen=seen))
    return Result(name=case.name, before=before, facts=facts)


def run_all(names: list[str], folder: Path) -> Iterator[Result]:
    """Runs cases by name, in order, on one bench."""
    with Bench(folder) as at:
        for name in names:
            yield run_case(CASES[name], at)


def seen_before(folder: Path) -> str:
    """What how.md says was seen at 3e0ace4."""
    lines = (folder / "how.md").read_text().splitlines()
    found = next((line for line in lines if line.startswith("seen on ")), "")
    return found.partition("): ")[2].strip()
