from itertools import islice, pairwise
from random import Random

import pytest

from examples.blocks.facts import Kind, Truth, holds
from examples.blocks.language import Turn, read
from examples.blocks.sampling import NoSuchFactError
from examples.blocks.scene import draw_scenes
from examples.blocks.train_truths import (
    CHECKS,
    Form,
    true_fact,
    true_turn,
    truthful_text,
    unanswerable_fact,
)

SCENES = list(islice(draw_scenes(5, "truths"), 60))


@pytest.mark.parametrize("kind", list(Kind))
def test_true_facts_are_true_and_have_one_answer(kind):
    rng, found = Random(1), 0
    for scene in SCENES:
        try:
            fact = true_fact(kind, scene, rng)
        except NoSuchFactError:
            continue
        found += 1
        assert fact.truth_in(scene) is Truth.TRUE
    assert found > 10


@pytest.mark.parametrize("form", [Form.SHORT, Form.MIDDLE, Form.LONG])
def test_turns_read_back_as_true(form):
    rng = Random(2)
    for scene in SCENES:
        reading = read(true_turn(form, scene, rng))
        assert reading is not None
        assert holds(reading.fact, scene)


def test_unanswerable_facts_ask_for_what_is_not_there():
    rng = Random(3)
    for scene, other in pairwise(SCENES):
        try:
            fact = unanswerable_fact((Kind.COLOR, Kind.POSITION), scene, other=other, rng=rng)
        except NoSuchFactError:
            continue
        assert fact.truth_in(scene) is Truth.UNANSWERABLE


@pytest.mark.parametrize("form", list(CHECKS))
def test_a_check_says_yes_of_true_answers_and_no_of_false_ones(form):
    rng, verdicts = Random(4), set()
    for scene in SCENES:
        text = truthful_text(form, scene, other=scene, rng=rng)
        question, answer = text.prompt.removeprefix("Question: ").split("\nAnswer: ")
        reading = read(Turn(question, answer))
        assert reading is not None
        assert text.completion == (" Yes." if holds(reading.fact, scene) else " No.")
        verdicts.add(text.completion)
    assert verdicts == {" Yes.", " No."}


def test_question_lists_say_whether_all_can_be_answered():
    rng = Random(6)
    texts = [
        truthful_text(Form.QUESTIONS, scene, other=other, rng=rng)
        for scene, other in pairwise(SCENES)
    ]
    yes = sum(text.completion == " Yes." for text in texts)
    assert 0.3 * len(texts) < yes < 0.8 * len(texts)
    assert {text.prompt.count("\n") + 1 for text in texts} == {1, 2, 3, 4, 5}


def test_equal_seeds_give_equal_texts():
    first, second = (
        [
            truthful_text(form, scene, other=SCENES[0], rng=Random(7))
            for form in Form
            for scene in SCENES[:5]
        ]
        for _ in range(2)
    )
    assert first == second
