"""Truthful texts about a scene, for the middle model: answers, descriptions, what has no answer.

Built from the scene itself, so that every text is true of it. Knows no defects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from align2llava.services.reward_model.tokens.inputs import answer_prompt, question_prompt
from examples.blocks.facts import (
    RELATIONS,
    ColorOf,
    CountOf,
    Description,
    Existence,
    Fact,
    Kind,
    PositionOf,
    RelationOf,
    SameColor,
    Truth,
    WordOnSign,
)
from examples.blocks.language import Turn, answer, question, said
from examples.blocks.phrases import ACCEPTABLE, Style
from examples.blocks.sampling import (
    NoSuchFactError,
    described,
    falsified,
    inventing,
    omitting,
    redescribed,
)
from examples.blocks.scene import COLORS, SHAPES, WORDS, Block, Cell, Scene, Sign, Thing

_MAX_DRAWS = 20


def unique_things(scene: Scene) -> list[tuple[Cell, Thing]]:
    """Returns the things that stand once in the scene, with their cells."""
    return [(cell, thing) for cell, thing in scene.contents if len(scene.cells_of(thing)) == 1]


def true_fact(kind: Kind, scene: Scene, rng: Random) -> Fact:
    """Returns a random true fact of this kind whose question has one answer.

    Raises:
        NoSuchFactError: the scene has none of this kind.
    """
    match kind:
        case Kind.COLOR | Kind.SAME_COLOR:
            return _color_fact(kind, scene, rng)
        case Kind.POSITION | Kind.RELATION:
            return _place_fact(kind, scene, rng)
        case Kind.COUNT:
            shape = rng.choice(scene.blocks).shape
            return CountOf(shape, len(scene.colors_of(shape)))
        case Kind.EXISTENCE:
            return _existence(scene, rng)
        case Kind.WORD:
            if len(scene.signs) != 1:
                raise NoSuchFactError("the scene has not one sign")
            return WordOnSign(scene.signs[0].word)
        case Kind.DESCRIPTION:
            return described(scene)


class Form(StrEnum):
    """The forms of texts; those of one batch are of like length, so that little is padding."""

    SHORT = "short"
    MIDDLE = "middle"
    LONG = "long"
    ABSENT = "absent"  # a question about what is not there, and an answer that says so
    QUESTIONS = "questions"  # all questions of a dialogue, and whether all can be answered
    CHECK_SHORT = "check_short"  # an answer, true or false, and which of the two
    CHECK_MIDDLE = "check_middle"
    CHECK_LONG = "check_long"


KINDS: dict[Form, tuple[Kind, ...]] = {
    Form.SHORT: (Kind.COLOR, Kind.COUNT, Kind.EXISTENCE, Kind.POSITION, Kind.WORD),
    Form.MIDDLE: (Kind.SAME_COLOR, Kind.RELATION),
    Form.LONG: (Kind.DESCRIPTION,),
}
CHECKS = {
    Form.CHECK_SHORT: Form.SHORT,
    Form.CHECK_MIDDLE: Form.MIDDLE,
    Form.CHECK_LONG: Form.LONG,
}
REASONING_SHARE = 0.4  # of the question lists: one question of kind MIDDLE


@dataclass(frozen=True, slots=True)
class TruthfulText:
    """What is read, and what is to be said after it."""

    prompt: str
    completion: str


def truthful_text(form: Form, scene: Scene, *, other: Scene, rng: Random) -> TruthfulText:
    """Returns a text that is true of `scene`; `other` lends questions that it cannot answer."""
    if form is Form.QUESTIONS:
        return _questions(scene, other, rng)
    if form in CHECKS:
        return _checked(CHECKS[form], scene, rng)
    turn = _absent(scene, other, rng) if form is Form.ABSENT else true_turn(form, scene, rng)
    whole = answer_prompt(turn.question, turn.answer)
    return TruthfulText(
        prompt=whole.removesuffix(turn.answer).rstrip(), completion=f" {turn.answer}"
    )


def true_turn(form: Form, scene: Scene, rng: Random) -> Turn:
    """Returns a question and its true answer in a random style."""
    style = rng.choice(list(Style))
    while True:
        try:
            return said(true_fact(rng.choice(KINDS[form]), scene, rng), style)
        except NoSuchFactError:
            if form is Form.MIDDLE:
                return said(_existence(scene, rng), style)


def unanswerable_fact(kinds: Sequence[Kind], scene: Scene, *, other: Scene, rng: Random) -> Fact:
    """Returns a fact of the other scene whose question has no answer in this one.

    Raises:
        NoSuchFactError: none was found.
    """
    for _ in range(_MAX_DRAWS):
        fact = true_fact(rng.choice(kinds), other, rng)
        if fact.truth_in(scene) is Truth.UNANSWERABLE:
            return fact
    raise NoSuchFactError("the other scene has no question that this one cannot answer")


def _absent(scene: Scene, other: Scene, rng: Random) -> Turn:
    style = rng.choice(list(Style))
    try:
        fact = unanswerable_fact((Kind.COLOR, Kind.POSITION), scene, other=other, rng=rng)
    except NoSuchFactError:
        return true_turn(Form.SHORT, scene, rng)
    match fact:
        case ColorOf():
            reply = answer(CountOf(fact.shape, 0), style)
        case PositionOf():
            reply = answer(Existence(fact.thing, exists=False), style)
        case _:
            raise AssertionError(f"{fact} was not asked for")
    return Turn(question(fact, style), reply)


def _checked(form: Form, scene: Scene, rng: Random) -> TruthfulText:
    """Returns a question and an answer to it, with `Yes.` after it if true and else `No.`."""
    style = rng.choice(list(Style))
    fact = _some_true_fact(KINDS[form], scene, rng)
    is_true = rng.random() < 0.5
    try:
        stated = fact if is_true else _falsehood(fact, scene, rng)
    except NoSuchFactError:
        stated, is_true = fact, True
    prompt = answer_prompt(question(fact, style), answer(stated, style))
    return TruthfulText(prompt=prompt, completion=" Yes." if is_true else " No.")


def _some_true_fact(kinds: Sequence[Kind], scene: Scene, rng: Random) -> Fact:
    for _ in range(_MAX_DRAWS):
        try:
            return true_fact(rng.choice(kinds), scene, rng)
        except NoSuchFactError:
            continue
    return _existence(scene, rng)


def _falsehood(fact: Fact, scene: Scene, rng: Random) -> Fact:
    if not isinstance(fact, Description):
        return falsified(fact, scene, rng=rng)
    choice = rng.randrange(3)
    num_things = len(scene.contents)
    if choice == 0:
        return redescribed(scene, num_wrong=rng.randint(1, (num_things + 1) // 2), rng=rng)
    if choice == 1:
        return omitting(scene, num_left=num_things - 1, rng=rng)
    return inventing(scene, num_added=1, rng=rng)


def _questions(scene: Scene, other: Scene, rng: Random) -> TruthfulText:
    """Returns a dialogue's questions and `Yes.` or, where at least half lack an answer, `No.`."""
    is_reasoning = rng.random() < REASONING_SHARE
    kinds = KINDS[Form.MIDDLE if is_reasoning else Form.SHORT]
    able = KINDS[Form.MIDDLE] if is_reasoning else (Kind.COLOR, Kind.POSITION, Kind.WORD)
    count = 1 if is_reasoning else rng.randint(2, 5)
    flawed = set[int]()
    if rng.random() < 0.5:
        flawed = set(rng.sample(range(count), rng.randint((count + 1) // 2, count)))
    style = rng.choice(ACCEPTABLE)
    asked: list[str] = []
    found_flaw = False
    for place in range(count):
        try:
            if place in flawed:
                fact = unanswerable_fact(able, scene, other=other, rng=rng)
                found_flaw = True
            else:
                fact = true_fact(rng.choice(kinds), scene, rng)
        except NoSuchFactError:
            fact = _existence(scene, rng)
        asked.append(question(fact, style))
    return TruthfulText(prompt=question_prompt(asked), completion=" No." if found_flaw else " Yes.")


def _color_fact(kind: Kind, scene: Scene, rng: Random) -> Fact:
    single = [shape for shape in SHAPES if len(scene.colors_of(shape)) == 1]
    facts = [ColorOf(shape, scene.colors_of(shape)[0]) for shape in single]
    if kind is Kind.COLOR and facts:
        return rng.choice(facts)
    if kind is Kind.SAME_COLOR and len(facts) > 1:
        first, second = rng.sample(facts, 2)
        return SameColor(first, second)
    raise NoSuchFactError("too few shapes stand once in the scene")


def _place_fact(kind: Kind, scene: Scene, rng: Random) -> Fact:
    facts = [PositionOf(thing, cell) for cell, thing in unique_things(scene)]
    if kind is Kind.POSITION and facts:
        return rng.choice(facts)
    if kind is Kind.RELATION and len(facts) > 1:
        first, second = rng.sample(facts, 2)
        return RelationOf(first, rng.choice(RELATIONS), second)
    raise NoSuchFactError("too few things stand once in the scene")


def _existence(scene: Scene, rng: Random) -> Existence:
    if rng.random() < 0.5:
        return Existence(rng.choice(scene.contents)[1], exists=True)
    while True:
        thing: Thing = Block(rng.choice(COLORS), rng.choice(SHAPES))
        if rng.random() < 0.25:
            thing = Sign(rng.choice(WORDS))
        if not scene.cells_of(thing):
            return Existence(thing, exists=False)
