"""The defects of questions and answers, which of them only the image shows, and how bad they are."""

from collections.abc import Iterable
from enum import StrEnum

from examples.blocks.facts import Existence, Fact


class Defect(StrEnum):
    """What can be wrong with a question or an answer."""

    UNANSWERABLE_QUESTION = "unanswerable_question"
    GENERIC_QUESTION = "generic_question"
    WRONG_ANSWER = "wrong_answer"
    INVENTED_OBJECT = "invented_object"
    OMISSION = "omission"
    RAMBLING = "rambling"
    FOREIGN_STYLE = "foreign_style"
    REFUSAL = "refusal"


IMAGE_DEPENDENT = frozenset(
    {Defect.UNANSWERABLE_QUESTION, Defect.WRONG_ANSWER, Defect.INVENTED_OBJECT, Defect.OMISSION}
)
QUESTION_DEFECTS = frozenset({Defect.UNANSWERABLE_QUESTION, Defect.GENERIC_QUESTION})

BEST_SCORE = 0.9
_PENALTIES: dict[Defect, float] = {
    Defect.UNANSWERABLE_QUESTION: 0.6,
    Defect.GENERIC_QUESTION: 0.5,
    Defect.WRONG_ANSWER: 0.6,
    Defect.INVENTED_OBJECT: 0.6,
    Defect.OMISSION: 0.5,
    Defect.RAMBLING: 0.3,
    Defect.FOREIGN_STYLE: 0.4,
    Defect.REFUSAL: 0.9,
}


def true_score(defects: Iterable[Defect]) -> float:
    """Returns the score in [0, 1] that an annotator without noise gives."""
    return round(max(0.0, BEST_SCORE - sum(_PENALTIES[defect] for defect in set(defects))), 2)


def is_image_dependent_only(defects: Iterable[Defect]) -> bool:
    """Tells whether there are defects and the text alone shows none of them."""
    found = frozenset(defects)
    return bool(found) and found <= IMAGE_DEPENDENT


def falsehood(fact: Fact) -> Defect:
    """Returns the defect of an answer that states this false fact."""
    if isinstance(fact, Existence) and fact.exists:
        return Defect.INVENTED_OBJECT
    return Defect.WRONG_ANSWER
