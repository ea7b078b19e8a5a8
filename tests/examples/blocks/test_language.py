import itertools
import re
from random import Random

import pytest

from examples.blocks.facts import Description, Fact, Kind, Truth, kind_of
from examples.blocks.language import (
    Turn,
    answer,
    is_native,
    question,
    question_kind,
    read,
    said,
    without_fillers,
)
from examples.blocks.phrases import FILLERS, GENERIC, LISTINGS, PHRASES, REFUSALS, Style
from examples.blocks.sampling import (
    DIALOGUE,
    REASONING,
    NoSuchFactError,
    described,
    draw_fact,
    draw_topic,
)
from examples.blocks.scene import draw_scenes

MAX_WORDS = 300
MAX_ANSWER_WORDS = 40
MAX_DESCRIPTION_WORDS = 60


def drawn_facts(num_scenes: int) -> list[Fact]:
    rng = Random(3)
    facts: list[Fact] = []
    for scene in itertools.islice(draw_scenes(3, "language"), num_scenes):
        facts.append(described(scene))
        for kind in (*DIALOGUE, *REASONING):
            try:
                facts.append(draw_fact(draw_topic(kind, rng), scene, truth=Truth.TRUE, rng=rng))
            except NoSuchFactError:
                continue
    return facts


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    return drawn_facts(40)


def test_facts_of_every_kind_are_tried(facts: list[Fact]):
    assert {kind_of(fact) for fact in facts} == set(Kind)


def test_every_text_reads_back_as_what_was_said(facts: list[Fact]):
    for fact, asked, answered in itertools.product(facts, Style, Style):
        turn = Turn(question(fact, asked), answer(fact, answered))
        reading = read(turn)
        assert reading is not None, turn
        assert (reading.fact, reading.question_style, reading.answer_style) == (
            fact,
            asked,
            answered,
        )


def test_only_native_turns_are_native(facts: list[Fact]):
    for fact, asked, answered in itertools.product(facts[:30], Style, Style):
        turn = Turn(question(fact, asked), answer(fact, answered))
        assert is_native(turn) is (asked is Style.NATIVE and answered is Style.NATIVE)


def test_rambling_reads_as_its_fact_but_is_not_native(facts: list[Fact]):
    for fact in facts[:20]:
        plain = said(fact, Style.NATIVE)
        rambling = Turn(plain.question, f"{plain.answer} {FILLERS[0]} {FILLERS[3]}")
        reading = read(rambling)
        assert reading is not None
        assert reading.fact == fact
        assert without_fillers(rambling.answer) == plain.answer
        assert not is_native(rambling)


def test_questions_tell_their_kind(facts: list[Fact]):
    for fact, style in itertools.product(facts, Style):
        assert question_kind(question(fact, style)) is kind_of(fact)
    assert all(question_kind(phrase.question) is None for phrase in GENERIC)


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(Turn("What color is the star?", "The cross is red."), id="another shape"),
        pytest.param(Turn("What color is the star?", "There is 1 star."), id="another kind"),
        pytest.param(Turn("Is there a red star?", "Yes, there is no red star."), id="yes and no"),
        pytest.param(Turn("Is there a red star?", "Yes, there is a red cross."), id="other thing"),
        pytest.param(Turn("How many stars are there?", "There is 2 stars."), id="bad grammar"),
        pytest.param(
            Turn(
                "Are the star and the cross the same color?",
                "Yes, the star is red and the cross is blue.",
            ),
            id="verdict against its reasons",
        ),
        pytest.param(
            Turn("Describe the following image.", "A red star is at the"), id="cut description"
        ),
        pytest.param(Turn(GENERIC[0].question, GENERIC[0].answer), id="generic"),
        pytest.param(Turn("What color is the star?", REFUSALS[0]), id="refusal"),
        pytest.param(Turn("", ""), id="empty"),
    ],
)
def test_what_states_no_fact_is_not_read(turn: Turn):
    assert read(turn) is None
    assert not is_native(turn)


def test_a_description_in_another_order_is_the_same_fact():
    turn = Turn(
        "Describe the following image.", "A red star is at the top. A GO sign is at the top left."
    )
    reading = read(turn)
    assert reading is not None
    assert isinstance(reading.fact, Description)
    assert [cell for cell, _ in reading.fact.contents] == ["top left", "top"]


def test_the_vocabulary_is_small(facts: list[Fact]):
    texts = [
        text
        for fact in facts
        for style in Style
        for text in (question(fact, style), answer(fact, style))
    ]
    texts += [*FILLERS, *REFUSALS, *(f"{p.question} {p.answer}" for p in GENERIC)]
    words = {word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)}
    assert len(words) < MAX_WORDS


def test_answers_are_short(facts: list[Fact]):
    for fact, style in itertools.product(facts, Style):
        limit = MAX_DESCRIPTION_WORDS if kind_of(fact) is Kind.DESCRIPTION else MAX_ANSWER_WORDS
        assert len(answer(fact, style).split()) <= limit


def test_every_kind_has_every_style():
    assert set(PHRASES) == set(Kind) - {Kind.DESCRIPTION}
    assert all(set(phrases) == set(Style) for phrases in PHRASES.values())
    assert set(LISTINGS) == set(Style)
