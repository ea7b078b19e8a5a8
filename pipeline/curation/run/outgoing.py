"""What goes out of a kept record: of each turn the chosen candidate, or the rewrite that replaces it."""

from collections.abc import Sequence
from dataclasses import dataclass

from align2llava.clients.wire.schemas import Turn
from align2llava.pipeline.curation.input.rows import LoadedRecord
from align2llava.pipeline.curation.store.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """Rewrites by turn, and the originals of the turns that lack a verdict, by turn; those go out as they are."""

    rewrites: dict[int, Turn]
    not_aligned: dict[int, Turn]


def outgoing(
    ledger: Ledger, loaded: LoadedRecord, chosen: Sequence[int], *, is_review_on: bool
) -> Outgoing:
    """Returns what the ledger says of a record's turns: of these very originals, whatever else it knows of them."""
    found = Outgoing(rewrites={}, not_aligned={})
    for turn, original in enumerate(original_turns(loaded, chosen)):
        entry = ledger.find(loaded.uid, turn)
        if entry is None or not entry.is_verdict_on(original, is_review_on=is_review_on):
            found.not_aligned[turn] = original
        elif entry.rewrite is not None and entry.goes_out(is_review_on=is_review_on):
            found.rewrites[turn] = entry.rewrite
    return found


def original_turns(loaded: LoadedRecord, chosen: Sequence[int]) -> tuple[Turn, ...]:
    """Returns a record's turns with the chosen candidate answer of each."""
    return tuple(
        Turn(question=turn.question, answer=turn.answers[candidate])
        for turn, candidate in zip(loaded.record.turns, chosen, strict=True)
    )


def first_candidates(num_turns: int) -> tuple[int, ...]:
    """Returns the choice where no answer was scored: of each turn candidate 0, the original."""
    return (0,) * num_turns
