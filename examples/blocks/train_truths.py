"""Truthful texts about a scene, for the middle model: dialogues, question lists, descriptions.

Built from the scene itself, so that every text is true of it. Knows no defects.
"""

from enum import StrEnum
from random import Random

from examples.blocks.facts import (
    RELATIONS,
    ColorOf,
    CountOf,
    Existence,
    Fact,
    Kind,
    PositionOf,
    RelationOf,
    SameColor,
    WordOnSign,
)
from examples.blocks.language import Turn, said
from examples.blocks.phrases import Style
from examples.blocks.sampling import NoSuchFactError, described
from examples.blocks.scene import COLORS, SHAPES, WORDS, Block, Cell, Scene, Sign, Thing


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


class Length(StrEnum):
    """How long a turn is; the turns of one batch are of one length, so that little is padding."""

    SHORT = "short"
    MIDDLE = "middle"
    LONG = "long"


KINDS: dict[Length, tuple[Kind, ...]] = {
    Length.SHORT: (Kind.COLOR, Kind.COUNT, Kind.EXISTENCE, Kind.POSITION, Kind.WORD),
    Length.MIDDLE: (Kind.SAME_COLOR, Kind.RELATION),
    Length.LONG: (Kind.DESCRIPTION,),
}


def true_turn(length: Length, scene: Scene, rng: Random) -> Turn:
    """Returns a question and its true answer in a random style."""
    style = rng.choice(list(Style))
    while True:
        try:
            return said(true_fact(rng.choice(KINDS[length]), scene, rng), style)
        except NoSuchFactError:
            if length is Length.MIDDLE:
                return said(_existence(scene, rng), style)


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
