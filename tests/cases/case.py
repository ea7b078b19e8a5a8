"""What a case is: a name, how it is run, and the facts that must be seen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cases.bench import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that must be so; `seen` is what was there instead, or the proof of it."""

    claim: str
    holds: bool
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that has ended; 124 = it was ended for its time."""

    name: str
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def last(self) -> str:
        """The last line that says something."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else "(nothing)"

    def ends(self, *codes: int) -> Fact:
        """It ended with one of these codes, and without a trace."""
        claim = f"{self.name} exits {' or '.join(map(str, codes))}"
        is_quiet = "Traceback" not in self.text and "Error:" not in self.last
        return Fact(
            claim=claim,
            holds=self.code in codes and is_quiet,
            seen=f"exit {self.code}: {self.last}",
        )

    def says(self, *words: str) -> Fact:
        """Each of these words stands in what it printed, in any case."""
        lost = [word for word in words if word.lower() not in self.text.lower()]
        seen = (
            f"no {', '.join(map(repr, lost))} in: {self.last}" if lost else self.line_of(words[0])
        )
        return Fact(claim=f"{self.name} says {', '.join(words)}", holds=not lost, seen=seen)

    def never_says(self, *words: str) -> Fact:
        """None of these words stands in what it printed."""
        found = [word for word in words if word in self.text]
        seen = f"{found[0]!r} in {self.line_of(found[0])!r}" if found else "absent"
        return Fact(
            claim=f"{self.name} does not say {', '.join(map(repr, words))}",
            holds=not found,
            seen=seen,
        )

    def line_of(self, word: str) -> str:
        """The first line that holds a word."""
        lines = (line.strip() for line in self.text.splitlines())
        return next((line for line in lines if word.lower() in line.lower()), self.last)


def fact(claim: str, *, holds: bool, seen: object) -> Fact:
    return Fact(claim=claim, holds=holds, seen=str(seen))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A folder of ../shared/cases; `look` runs it and yields what must be so."""

    name: str
    look: Callable[["Bench", Path], Iterator[Fact]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case that was run."""

    name: str
    before: str
    facts: Sequence[Fact] = field(default_factory=tuple)

    @property
    def holds(self) -> bool:
        return bool(self.facts) and all(found.holds for found in self.facts)

    @property
    def now(self) -> str:
        """What does not hold, else what was seen."""
        wrong = [found for found in self.facts if not found.holds]
        if wrong:
            return "; ".join(f"NOT {found.claim} ({found.seen})" for found in wrong)
        return "; ".join(found.seen for found in self.facts)

    def as_json(self) -> Mapping[str, object]:
        facts = [{"claim": f.claim, "holds": f.holds, "seen": f.seen} for f in self.facts]
        return {"case": self.name, "before": self.before, "holds": self.holds, "facts": facts}
