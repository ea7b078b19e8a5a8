"""What a part of the campaign tells: one row for each attack."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of an attack's inputs; whatever is counted behind `accepted` should be none.

    `note` is for readers: which figures were measured beside, and what was skipped and why.
    """

    name: str
    tried: int
    refused: int = 0
    accepted: int = 0
    faults: int = 0  # 5xx, INTERNAL or UNKNOWN for what is a caller's fault
    crashes: int = (
        0  # a process ended, or a service answers a known request in another way than before
    )
    hangs: int = 0  # no answer in time
    uncaught: int = 0  # a traceback in a log or on a screen
    seconds: float = 0.0
    note: str = ""

    @property
    def is_held(self) -> bool:
        """Whether nothing happened that should not."""
        return not (self.faults or self.crashes or self.hangs or self.uncaught)
