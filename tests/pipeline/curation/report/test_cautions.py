from align2llava.pipeline.curation.figures.rewrites import RewriteFigures, rewrite_figures
from align2llava.pipeline.curation.layout import AlignStatus, Gate
from align2llava.pipeline.curation.report.cautions import (
    cautions,
    gate_counts,
    model_cautions,
    rewrite_caution,
    rewrite_line,
)
from tests.pipeline.curation.figures.test_rewrites import ledger, turn

PARSED, NUMBERS, SOFT = Gate.PARSED.column, Gate.NUMBERS.column, Gate.SOFT_FORMAT.column


def figures(
    *, unparsed: int = 0, numbers: int = 0, rewritten: int = 0, short: int = 0
) -> RewriteFigures:
    rows = [
        *([(AlignStatus.GATED, PARSED)] * unparsed),
        *([(AlignStatus.GATED, NUMBERS)] * numbers),
        *([(AlignStatus.REWRITTEN, "")] * rewritten),
        *([(AlignStatus.HARD_FORMAT, SOFT)] * short),
    ]
    turns = [
        turn(f"{at}", 0, status, **({gate: False} if gate else {}))
        for at, (status, gate) in enumerate(rows)
    ]
    return rewrite_figures(ledger(*turns), num_kept_turns=len(rows))


def test_more_than_half_gated_is_one_line_with_gates_and_what_to_do():
    line = rewrite_caution(figures(unparsed=6, numbers=2, rewritten=4, short=9))
    assert line is not None
    assert line.startswith("8 of 12 rewrites did not pass the gates (unparsed 6, numbers 2)")
    assert "alignment.rewrite=off" in line
    assert "\n" not in line


def test_half_gated_or_nothing_tried_is_no_warning():
    assert rewrite_caution(figures(unparsed=4, rewritten=4)) is None
    assert rewrite_caution(figures(short=5)) is None
    assert rewrite_caution(None) is None


def test_every_outcome_of_a_turn_is_counted_in_the_line():
    found = figures(unparsed=1, numbers=2, rewritten=4, short=3)
    assert rewrite_line(found) == (
        "4 of 10 turns rewritten, 3 gated (numbers 2, unparsed 1), 3 left alone for their short form"
    )
    assert gate_counts(found) == {"numbers": 2, "parsed": 1}


def test_models_of_one_purpose_are_named_together_and_old_runs_warn_of_nothing():
    shapes = {"identity": "a", "purpose": "coloured shapes"}
    (line,) = model_cautions(
        {"question_reward": shapes, "answer_reward": shapes, "inner_llm": {"identity": "b"}}
    )
    assert line.startswith(
        "question reward and answer reward: the model's card says it is for coloured shapes"
    )
    assert model_cautions({"question_reward": {"identity": "of a run before cards"}}) == []
    assert list(cautions({}, None)) == []
