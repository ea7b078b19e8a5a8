import polars as pl

from align2llava.pipeline.curation.figures.rewrites import (
    EXAMPLES_PER_STATUS,
    choose_turns,
    rewrite_figures,
    slim,
)
from align2llava.pipeline.curation.layout import AlignStatus, Gate


def turn(uid: str, number: int, status: AlignStatus, **changes: object) -> dict[str, object]:
    rewrite = None if status is AlignStatus.HARD_FORMAT else "four words are here"
    return {
        "uid": uid,
        "turn": number,
        "original_answer": "two words",
        "rewrite_answer": rewrite,
        "original_first": None,
        "rewrite_first": None,
        "verdict": None,
        "status": status.value,
        "error_code": None,
        **{gate.column: True for gate in Gate},
    } | changes


def ledger(*rows: dict[str, object]) -> pl.DataFrame:
    schema = dict.fromkeys(rows[0], pl.String) | {gate.column: pl.Boolean for gate in Gate}
    return slim(pl.LazyFrame(list(rows), schema=schema | {"turn": pl.Int32})).collect()


def test_later_row_of_a_turn_replaces_the_earlier():
    turns = ledger(
        turn("a", 0, AlignStatus.NOT_ALIGNED, error_code="unavailable"),
        turn("b", 0, AlignStatus.ORIGINAL),
        turn("a", 0, AlignStatus.REWRITTEN),
    )
    figures = rewrite_figures(turns, num_kept_turns=5)
    assert (figures.num_turns, figures.num_kept_turns) == (2, 5)
    assert figures.statuses == {"rewritten": 1, "original": 1}
    assert figures.errors == {}


def test_gates_count_passed_failed_and_not_tried():
    numbers = Gate.NUMBERS.column
    turns = ledger(
        turn("a", 0, AlignStatus.REWRITTEN),
        turn("b", 0, AlignStatus.GATED, **{numbers: False}),
        turn("c", 0, AlignStatus.HARD_FORMAT, **{numbers: None}),
    )
    by_gate = {row.gate: row for row in rewrite_figures(turns, num_kept_turns=3).gates}
    assert list(by_gate) == list(Gate)
    counts = by_gate[Gate.NUMBERS]
    assert (counts.passed, counts.failed, counts.not_tried) == (1, 1, 1)


def test_verdicts_are_counted_by_order():
    both = {"original_first": "rewrite", "rewrite_first": "rewrite", "verdict": "rewrite"}
    split = {"original_first": "original", "rewrite_first": "rewrite", "verdict": "original"}
    turns = ledger(
        turn("a", 0, AlignStatus.REWRITTEN, **both),
        turn("b", 0, AlignStatus.REWRITTEN, **both),
        turn("c", 0, AlignStatus.ORIGINAL, **split),
    )
    orders = rewrite_figures(turns, num_kept_turns=3).orders
    assert [(row.original_first, row.rewrite_first, row.num_turns) for row in orders] == [
        ("rewrite", "rewrite", 2),
        ("original", "rewrite", 1),
    ]


def test_mean_words_are_over_turns_with_a_rewrite():
    turns = ledger(
        turn("a", 0, AlignStatus.REWRITTEN),
        turn("b", 0, AlignStatus.HARD_FORMAT, original_answer="a b c d e f g h"),
    )
    figures = rewrite_figures(turns, num_kept_turns=2)
    assert figures.mean_answer_words_original == 2
    assert figures.mean_answer_words_rewrite == 4


def test_examples_are_bounded_per_status_and_do_not_depend_on_order():
    rows = [turn(f"{index:03d}", 0, AlignStatus.REWRITTEN) for index in range(50)]
    rows += [turn("x", 1, AlignStatus.GATED)]
    keys = choose_turns(ledger(*rows))
    assert len(keys) == EXAMPLES_PER_STATUS[AlignStatus.REWRITTEN] + 1
    assert keys == choose_turns(ledger(*reversed(rows)))
    assert ("x", 1) in keys
