import pytest

from examples.blocks.defects import (
    BEST_SCORE,
    Defect,
    falsehood,
    is_image_dependent_only,
    true_score,
)
from examples.blocks.facts import CountOf, Existence
from examples.blocks.scene import Shape, Sign, Word


def test_no_defect_scores_best_and_each_costs():
    assert true_score([]) == BEST_SCORE
    assert all(0 <= true_score([defect]) < BEST_SCORE for defect in Defect)


def test_more_defects_never_score_higher():
    both = [Defect.WRONG_ANSWER, Defect.FOREIGN_STYLE]
    assert true_score(both) < min(true_score(both[:1]), true_score(both[1:]))
    assert true_score(list(Defect)) == 0.0


def test_refusals_score_zero():
    assert true_score([Defect.REFUSAL]) == 0.0


@pytest.mark.parametrize(
    ("defects", "expected"),
    [
        ([], False),
        ([Defect.OMISSION], True),
        ([Defect.WRONG_ANSWER, Defect.INVENTED_OBJECT], True),
        ([Defect.WRONG_ANSWER, Defect.RAMBLING], False),
        ([Defect.GENERIC_QUESTION], False),
    ],
)
def test_one_visible_defect_shows_in_the_text(defects: list[Defect], expected: bool):
    assert is_image_dependent_only(defects) is expected


def test_a_false_yes_invents_and_other_falsehoods_are_wrong():
    assert falsehood(Existence(Sign(Word.GO), exists=True)) is Defect.INVENTED_OBJECT
    assert falsehood(Existence(Sign(Word.GO), exists=False)) is Defect.WRONG_ANSWER
    assert falsehood(CountOf(Shape.STAR, 2)) is Defect.WRONG_ANSWER
