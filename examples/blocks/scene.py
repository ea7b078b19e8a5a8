"""A scene: a 3x3 grid whose cells are empty or hold one block or one word sign. Draws no pixels.

Every value is drawn uniformly, so colours, shapes, words and cells are interchangeable: the text
of one scene looks like the text of any other.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Shape(StrEnum):
    """The shapes of blocks."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"
    CROSS = "cross"


class Color(StrEnum):
    """The colours of blocks."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    YELLOW = "yellow"


class Word(StrEnum):
    """The words on signs."""

    GO = "GO"
    HI = "HI"
    TV = "TV"
    WE = "WE"
    BY = "BY"
    PC = "PC"


class Cell(StrEnum):
    """The nine cells, in reading order."""

    TOP_LEFT = "top left"
    TOP = "top"
    TOP_RIGHT = "top right"
    LEFT = "left"
    CENTER = "center"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom right"


SHAPES = tuple(Shape)
COLORS = tuple(Color)
WORDS = tuple(Word)
CELLS = tuple(Cell)

NUM_SHAPES_SHOWN = 3  # each scene lacks two shapes, so that questions about them have no answer
MIN_BLOCKS, MAX_BLOCKS = 3, 5
MAX_THINGS = 6
MAX_SIGNS = 2


@dataclass(frozen=True, slots=True)
class Block:
    """A coloured shape."""

    color: Color
    shape: Shape

    @property
    def name(self) -> str:
        """The words that name it, without article."""
        return f"{self.color} {self.shape}"


@dataclass(frozen=True, slots=True)
class Sign:
    """A board with a written word."""

    word: Word

    @property
    def name(self) -> str:
        """The words that name it, without article."""
        return f"{self.word} sign"


Thing = Block | Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a thing sits in its cell: offset of its centre and its size, as shares of the cell."""

    dx: float
    dy: float
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the nine cells hold, in reading order, and how it looks; empty cells are None."""

    things: tuple[Thing | None, ...]
    looks: tuple[Look, ...]
    tints: tuple[tuple[int, int, int], tuple[int, int, int]]  # background, from top to bottom

    @property
    def contents(self) -> tuple[tuple[Cell, Thing], ...]:
        """The things with their cells, in reading order."""
        return tuple((cell, thing) for cell, thing in zip(CELLS, self.things, strict=True) if thing)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, in reading order."""
        return tuple(thing for thing in self.things if isinstance(thing, Block))

    @property
    def signs(self) -> tuple[Sign, ...]:
        """The signs, in reading order."""
        return tuple(thing for thing in self.things if isinstance(thing, Sign))

    def cells_of(self, thing: Thing) -> tuple[Cell, ...]:
        """Returns where `thing` is; empty where it is absent."""
        return tuple(cell for cell, other in self.contents if other == thing)

    def colors_of(self, shape: Shape) -> tuple[Color, ...]:
        """Returns the colours of all blocks of this shape."""
        return tuple(block.color for block in self.blocks if block.shape is shape)


def row_of(cell: Cell) -> int:
    """Returns 0 for the top row, 2 for the bottom row."""
    return CELLS.index(cell) // 3


def column_of(cell: Cell) -> int:
    """Returns 0 for the left column, 2 for the right column."""
    return CELLS.index(cell) % 3


def is_plausible(things: Sequence[Thing]) -> bool:
    """Tells whether these things could be all things of a scene."""
    shapes = {thing.shape for thing in things if isinstance(thing, Block)}
    words = Counter(thing.word for thing in things if isinstance(thing, Sign))
    num_blocks = len(things) - words.total()
    return (
        len(shapes) == NUM_SHAPES_SHOWN
        and MIN_BLOCKS <= num_blocks <= MAX_BLOCKS
        and len(things) <= MAX_THINGS
        and words.total() <= MAX_SIGNS
        and all(count == 1 for count in words.values())
    )


def draw_scene(rng: Random) -> Scene:
    """Returns a random scene: three to five blocks of three shapes and up to two signs."""
    shown = rng.sample(SHAPES, NUM_SHAPES_SHOWN)
    num_blocks = rng.choice((3, 4, 5))
    more = [rng.choice(shown)] * 2 if rng.random() < 0.5 else rng.choices(shown, k=2)
    shapes = shown + more[: num_blocks - NUM_SHAPES_SHOWN]
    blocks = [Block(rng.choice(COLORS), shape) for shape in shapes]
    num_signs = min(rng.choice((0, 0, 1, 1, 2)), MAX_THINGS - num_blocks)
    signs = [Sign(word) for word in rng.sample(WORDS, num_signs)]
    things: list[Thing | None] = [*blocks, *signs]
    things += [None] * (len(CELLS) - len(things))
    rng.shuffle(things)
    return Scene(
        things=tuple(things),
        looks=tuple(_draw_look(rng) for _ in CELLS),
        tints=(_draw_tint(rng), _draw_tint(rng)),
    )


def draw_scenes(seed: int, purpose: str) -> Iterator[Scene]:
    """Yields scenes without end, all of different contents; equal arguments give equal scenes."""
    rng = Random(f"{seed}/{purpose}")
    seen: set[tuple[Thing | None, ...]] = set()
    while True:
        scene = draw_scene(rng)
        if scene.things not in seen:
            seen.add(scene.things)
            yield scene


def _draw_look(rng: Random) -> Look:
    return Look(
        dx=rng.uniform(-0.08, 0.08), dy=rng.uniform(-0.08, 0.08), size=rng.uniform(0.62, 0.74)
    )


def _draw_tint(rng: Random) -> tuple[int, int, int]:
    return (rng.randint(222, 250), rng.randint(222, 250), rng.randint(222, 250))
