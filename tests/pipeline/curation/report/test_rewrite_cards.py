import polars as pl
import pyarrow as pa

from align2llava.pipeline.curation.layout import REWRITES, Gate
from align2llava.pipeline.curation.report.rewrite_cards import rewrite_cards


def ledger(*rows: dict) -> pl.LazyFrame:
    filled = [
        dict.fromkeys(REWRITES.names)
        | {"turn": 0, "original_question": "What?", "original_answer": "A red cup."}
        | row
        for row in rows
    ]
    frame = pl.from_arrow(pa.Table.from_pylist(filled, schema=REWRITES))
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def test_last_row_of_a_turn_is_shown_in_the_order_asked_for():
    rows = ledger(
        {"uid": "a", "status": "not_aligned"},
        {"uid": "b", "status": "original"},
        {"uid": "a", "status": "rewritten", "rewrite_question": "Q", "rewrite_answer": "A"},
    )
    cards = rewrite_cards(rows, [("b", 0), ("a", 0)])
    assert [(card.uid, card.status) for card in cards] == [("b", "original"), ("a", "rewritten")]


def test_sides_mark_what_differs():
    rows = ledger(
        {
            "uid": "a",
            "status": "rewritten",
            "rewrite_question": "What?",
            "rewrite_answer": "A blue cup.",
        }
    )
    (card,) = rewrite_cards(rows, [("a", 0)])
    assert not any(part.is_changed for part in card.original_question)
    assert [part.text for part in card.original_answer if part.is_changed] == [" red"]
    assert card.rewrite_answer is not None
    assert [part.text for part in card.rewrite_answer if part.is_changed] == [" blue"]


def test_turn_without_a_rewrite_has_one_side_and_its_unparsed_text():
    (card,) = rewrite_cards(ledger({"uid": "a", "status": "gated", "unparsed": "hm"}), [("a", 0)])
    assert (card.rewrite_question, card.rewrite_answer) == (None, None)
    assert card.unparsed == "hm"
    assert [part.is_changed for part in card.original_answer] == [False]


def test_gates_not_tried_are_neither_passed_nor_failed():
    gates = {Gate.PARSED.column: True, Gate.NUMBERS.column: False}
    (card,) = rewrite_cards(ledger({"uid": "a", "status": "gated"} | gates), [("a", 0)])
    assert (card.passed_gates, card.failed_gates) == (("parsed",), ("numbers",))
