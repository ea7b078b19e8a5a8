"""Facts about a scene: what a question and its answer state, apart from any wording.

A fact holds, is false, or has no answer in a scene: its question presupposes a thing that is
absent, or that is there more than once. Knows no text beyond the names of things.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Self

from examples.blocks.scene import (
    CELLS,
    COLORS,
    MAX_BLOCKS,
    NUM_SHAPES_SHOWN,
    SHAPES,
    WORDS,
    Block,
    Cell,
    Color,
    Scene,
    Shape,
    Sign,
    Thing,
    Word,
    column_of,
    row_of,
)


class Truth(StrEnum):
    """How a fact stands to a scene."""

    TRUE = "true"
    FALSE = "false"
    UNANSWERABLE = "unanswerable"  # the question asks about something that is not there
    AMBIGUOUS = "ambiguous"  # ... or that is there more than once


class Kind(StrEnum):
    """The kinds of facts."""

    COLOR = "color"
    COUNT = "count"
    EXISTENCE = "existence"
    POSITION = "position"
    WORD = "word"
    SAME_COLOR = "same_color"
    RELATION = "relation"
    DESCRIPTION = "description"


class Relation(StrEnum):
    """How one thing lies to another: by column, by row."""

    LEFT = "left of"
    RIGHT = "right of"
    ABOVE = "above"
    BELOW = "below"
    SAME_ROW = "in the same row as"
    SAME_COLUMN = "in the same column as"


RELATIONS = tuple(Relation)
MAX_COUNT = MAX_BLOCKS - NUM_SHAPES_SHOWN + 1
PLURALS = {shape: "crosses" if shape is Shape.CROSS else f"{shape}s" for shape in SHAPES}
_SINGULARS = {plural: shape for shape, plural in PLURALS.items()}

Slots = dict[str, str]


def _standing(found: tuple[object, ...], claimed: object) -> Truth:
    if len(found) == 0:
        return Truth.UNANSWERABLE
    if len(found) > 1:
        return Truth.AMBIGUOUS
    return Truth.TRUE if claimed in found else Truth.FALSE


def _joint(parts: tuple[Truth, ...]) -> Truth:
    """Returns the first of unanswerable, ambiguous, false among `parts`, else true."""
    for truth in (Truth.UNANSWERABLE, Truth.AMBIGUOUS, Truth.FALSE):
        if truth in parts:
            return truth
    return Truth.TRUE


def _yes(*, claimed: bool) -> str:
    return "Yes" if claimed else "No"


def thing_named(name: str) -> Thing:
    """Returns the thing of a name such as `red star` or `GO sign`."""
    first, second = name.split()
    return Sign(Word(first)) if second == "sign" else Block(Color(first), Shape(second))


@dataclass(frozen=True, slots=True)
class ColorOf:
    """The star is red; presupposes one star."""

    shape: Shape
    color: Color

    def slots(self) -> Slots:
        """The words its templates need."""
        return {"shape": self.shape, "color": self.color}

    @classmethod
    def read(cls, slots: Slots) -> Self:
        """Reads the fact from the words of its templates."""
        return cls(Shape(slots["shape"]), Color(slots["color"]))

    def reclaimed(self, rng: Random) -> Self:
        """Returns a random answer to the same question."""
        return replace(self, color=rng.choice(COLORS))

    def corrected(self, scene: Scene) -> Self:
        """Returns the true answer to the same question, where it has one answer."""
        return replace(self, color=scene.colors_of(self.shape)[0])

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return _standing(scene.colors_of(self.shape), self.color)


@dataclass(frozen=True, slots=True)
class CountOf:
    """There are two stars; always answerable."""

    shape: Shape
    count: int

    def slots(self) -> Slots:
        """The words its templates need."""
        plural = PLURALS[self.shape]
        one = self.count == 1
        return {
            "shapes": plural,
            "are": "is" if one else "are",
            "count": str(self.count),
            "counted": str(self.shape) if one else plural,
        }

    @classmethod
    def read(cls, slots: Slots) -> Self:
        """Reads the fact from the words of its templates."""
        return cls(_SINGULARS[slots["shapes"]], int(slots["count"]))

    def reclaimed(self, rng: Random) -> Self:
        """Returns a random answer to the same question."""
        return replace(self, count=rng.randint(1, MAX_COUNT))

    def corrected(self, scene: Scene) -> Self:
        """Returns the true answer to the same question, where it has one answer."""
        return replace(self, count=len(scene.colors_of(self.shape)))

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return _standing((len(scene.colors_of(self.shape)),), self.count)


@dataclass(frozen=True, slots=True)
class Existence:
    """There is (not) a red star; always answerable."""

    thing: Thing
    exists: bool

    def slots(self) -> Slots:
        """The words its templates need."""
        return {
            "thing": self.thing.name,
            "yes": _yes(claimed=self.exists),
            "a": "a" if self.exists else "no",
        }

    @classmethod
    def read(cls, slots: Slots) -> Self:
        """Reads the fact from the words of its templates."""
        return cls(thing_named(slots["thing"]), slots["yes"] == "Yes")

    def reclaimed(self, rng: Random) -> Self:
        """Returns a random answer to the same question."""
        return replace(self, exists=rng.random() < 0.5)

    def corrected(self, scene: Scene) -> Self:
        """Returns the true answer to the same question, where it has one answer."""
        return replace(self, exists=bool(scene.cells_of(self.thing)))

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return _standing((bool(scene.cells_of(self.thing)),), self.exists)


@dataclass(frozen=True, slots=True)
class PositionOf:
    """The red star is at the top left; presupposes one red star."""

    thing: Thing
    cell: Cell

    def slots(self) -> Slots:
        """The words its templates need."""
        return {"thing": self.thing.name, "cell": self.cell}

    @classmethod
    def read(cls, slots: Slots) -> Self:
        """Reads the fact from the words of its templates."""
        return cls(thing_named(slots["thing"]), Cell(slots["cell"]))

    def reclaimed(self, rng: Random) -> Self:
        """Returns a random answer to the same question."""
        return replace(self, cell=rng.choice(CELLS))

    def corrected(self, scene: Scene) -> Self:
        """Returns the true answer to the same question, where it has one answer."""
        return replace(self, cell=scene.cells_of(self.thing)[0])

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return _standing(scene.cells_of(self.thing), self.cell)


@dataclass(frozen=True, slots=True)
class WordOnSign:
    """The sign says GO; presupposes one sign."""

    word: Word

    def slots(self) -> Slots:
        """The words its templates need."""
        return {"word": self.word}

    @classmethod
    def read(cls, slots: Slots) -> Self:
        """Reads the fact from the words of its templates."""
        return cls(Word(slots["word"]))

    def reclaimed(self, rng: Random) -> Self:
        """Returns a random answer to the same question."""
        return replace(self, word=rng.choice(WORDS))

    def corrected(self, scene: Scene) -> Self:
        """Returns the true answer to the same question, where it has one answer."""
        return replace(self, word=scene.signs[0].word)

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return _standing(tuple(sign.word for sign in scene.signs), self.word)


@dataclass(frozen=True, slots=True)
class SameColor:
    """The star is red and the circle is blue, so not the same colour; presupposes one of each."""

    first: ColorOf
    second: ColorOf

    @property
    def verdict(self) -> bool:
        """Whether the colours are the same."""
        return self.first.color is self.second.color

    def slots(self) -> Slots:
        """The words its templates need."""
        return {
            "first": self.first.shape,
            "second": self.second.shape,
            "first_color": self.first.color,
            "second_color": self.second.color,
            "yes": _yes(claimed=self.verdict),
        }

    @classmethod
    def read(cls, slots: Slots) -> Self:
        """Reads the fact from the words of its templates."""
        return cls(
            ColorOf(Shape(slots["first"]), Color(slots["first_color"])),
            ColorOf(Shape(slots["second"]), Color(slots["second_color"])),
        )

    def reclaimed(self, rng: Random) -> Self:
        """Returns a random answer to the same question."""
        return replace(self, first=self.first.reclaimed(rng), second=self.second.reclaimed(rng))

    def corrected(self, scene: Scene) -> Self:
        """Returns the true answer to the same question, where it has one answer."""
        return replace(self, first=self.first.corrected(scene), second=self.second.corrected(scene))

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return _joint((self.first.truth_in(scene), self.second.truth_in(scene)))


@dataclass(frozen=True, slots=True)
class RelationOf:
    """The star is at the top and the circle at the left, so above it; presupposes one of each."""

    first: PositionOf
    relation: Relation
    second: PositionOf

    @property
    def verdict(self) -> bool:
        """Whether the relation follows from the two positions."""
        right = column_of(self.first.cell) - column_of(self.second.cell)
        down = row_of(self.first.cell) - row_of(self.second.cell)
        return {
            Relation.LEFT: right < 0,
            Relation.RIGHT: right > 0,
            Relation.ABOVE: down < 0,
            Relation.BELOW: down > 0,
            Relation.SAME_ROW: down == 0,
            Relation.SAME_COLUMN: right == 0,
        }[self.relation]

    def slots(self) -> Slots:
        """The words its templates need."""
        return {
            "first_thing": self.first.thing.name,
            "relation": self.relation,
            "second_thing": self.second.thing.name,
            "first_cell": self.first.cell,
            "second_cell": self.second.cell,
            "yes": _yes(claimed=self.verdict),
        }

    @classmethod
    def read(cls, slots: Slots) -> Self:
        """Reads the fact from the words of its templates."""
        return cls(
            PositionOf(thing_named(slots["first_thing"]), Cell(slots["first_cell"])),
            Relation(slots["relation"]),
            PositionOf(thing_named(slots["second_thing"]), Cell(slots["second_cell"])),
        )

    def reclaimed(self, rng: Random) -> Self:
        """Returns a random answer to the same question."""
        return replace(self, first=self.first.reclaimed(rng), second=self.second.reclaimed(rng))

    def corrected(self, scene: Scene) -> Self:
        """Returns the true answer to the same question, where it has one answer."""
        return replace(self, first=self.first.corrected(scene), second=self.second.corrected(scene))

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return _joint((self.first.truth_in(scene), self.second.truth_in(scene)))


@dataclass(frozen=True, slots=True)
class Description:
    """All things with their cells, in reading order; false where one is missing, added or wrong."""

    contents: tuple[tuple[Cell, Thing], ...]

    def truth_in(self, scene: Scene) -> Truth:
        """Tells how the fact stands to the scene."""
        return Truth.TRUE if self.contents == scene.contents else Truth.FALSE


SimpleFact = ColorOf | CountOf | Existence | PositionOf | WordOnSign | SameColor | RelationOf
Fact = SimpleFact | Description

FACT_TYPES: dict[Kind, type[SimpleFact]] = {
    Kind.COLOR: ColorOf,
    Kind.COUNT: CountOf,
    Kind.EXISTENCE: Existence,
    Kind.POSITION: PositionOf,
    Kind.WORD: WordOnSign,
    Kind.SAME_COLOR: SameColor,
    Kind.RELATION: RelationOf,
}
_KINDS: dict[type[SimpleFact], Kind] = {fact: kind for kind, fact in FACT_TYPES.items()}


def kind_of(fact: Fact) -> Kind:
    """Returns the kind of a fact."""
    return Kind.DESCRIPTION if isinstance(fact, Description) else _KINDS[type(fact)]


def holds(fact: Fact, scene: Scene) -> bool:
    """Tells whether the fact is true in the scene."""
    return fact.truth_in(scene) is Truth.TRUE
