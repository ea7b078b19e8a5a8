"""Rewrites as the report shows them: both sides with their difference, gates and verdicts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.curation.layout import Gate
from align2llava.pipeline.curation.report.example_cards import shortened
from align2llava.pipeline.curation.report.word_diff import Segment, word_diff


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteCard:
    """One turn of the ledger; sides are None where there is no rewrite."""

    uid: str
    turn: int
    status: str
    original_question: Sequence[Segment]
    original_answer: Sequence[Segment]
    rewrite_question: Sequence[Segment] | None
    rewrite_answer: Sequence[Segment] | None
    unparsed: str | None
    passed_gates: tuple[str, ...]
    failed_gates: tuple[str, ...]
    original_first: str | None
    rewrite_first: str | None
    verdict: str | None
    error_code: str | None


def rewrite_cards(ledger: pl.LazyFrame, keys: Collection[tuple[str, int]]) -> list[RewriteCard]:
    """Returns a card for each key (uid, turn), in the order of `keys`; the last row of a key wins."""
    uids = sorted({uid for uid, _ in keys})
    rows = ledger.filter(pl.col("uid").is_in(uids)).collect()
    by_key = {(row["uid"], row["turn"]): row for row in rows.iter_rows(named=True)}
    return [_card(by_key[key]) for key in keys]


def _card(row: Mapping[str, object]) -> RewriteCard:
    texts = {name: None if value is None else str(value) for name, value in row.items()}
    question = _sides(texts["original_question"], texts["rewrite_question"])
    answer = _sides(texts["original_answer"], texts["rewrite_answer"])
    unparsed = texts["unparsed"]
    return RewriteCard(
        uid=str(row["uid"]),
        turn=int(str(row["turn"])),
        status=str(row["status"]),
        original_question=question[0],
        original_answer=answer[0],
        rewrite_question=question[1],
        rewrite_answer=answer[1],
        unparsed=None if unparsed is None else shortened(unparsed),
        passed_gates=tuple(gate.value for gate in Gate if row[gate.column] is True),
        failed_gates=tuple(gate.value for gate in Gate if row[gate.column] is False),
        original_first=texts["original_first"],
        rewrite_first=texts["rewrite_first"],
        verdict=texts["verdict"],
        error_code=texts["error_code"],
    )


def _sides(
    original: str | None, rewrite: str | None
) -> tuple[Sequence[Segment], Sequence[Segment] | None]:
    before = shortened(original or "")
    if rewrite is None:
        return [Segment(text=before, is_changed=False)], None
    return word_diff(before, shortened(rewrite))
