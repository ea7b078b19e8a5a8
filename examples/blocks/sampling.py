"""Draws facts that stand to a scene in a wanted way, with wording that does not give it away.

Whether a fact is true, false or unanswerable in the scene, its text has the same distribution:
a text is drawn first, uniformly over all scenes, and accepted where it stands as wanted. What is
not uniform over scenes (how many, yes or no) is a `Topic`, chosen before the scene is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from examples.blocks.facts import (
    MAX_COUNT,
    RELATIONS,
    ColorOf,
    CountOf,
    Description,
    Existence,
    Kind,
    PositionOf,
    RelationOf,
    SameColor,
    SimpleFact,
    Truth,
    WordOnSign,
)
from examples.blocks.scene import (
    CELLS,
    COLORS,
    SHAPES,
    WORDS,
    Block,
    Cell,
    Scene,
    Sign,
    Thing,
    is_plausible,
)

_MAX_DRAWS = 60  # the rarest facts that a scene has are one in ten draws
_MAX_RELATION_DRAWS = 400  # ... one in forty
_SIGN_SHARE = 0.25  # of the things that questions name

PRESUPPOSING = (Kind.COLOR, Kind.POSITION, Kind.WORD)  # what a wrong scene leaves unanswerable
DIALOGUE = (*PRESUPPOSING, Kind.COUNT, Kind.EXISTENCE)
REASONING = (Kind.SAME_COLOR, Kind.RELATION)


class NoSuchFactError(Exception):
    """The scene has no fact that stands as wanted; another scene may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A kind of fact and its claim: the count, or 1 for yes and 0 for no; 0 where free."""

    kind: Kind
    claim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Makeup:
    """How many blocks and signs a description lists."""

    num_blocks: int
    num_signs: int


def draw_topic(kind: Kind, rng: Random) -> Topic:
    """Returns a topic of this kind with a uniform claim."""
    if kind is Kind.COUNT:
        return Topic(kind=kind, claim=rng.randint(1, MAX_COUNT))
    if kind is Kind.EXISTENCE:
        return Topic(kind=kind, claim=rng.randint(0, 1))
    return Topic(kind=kind, claim=0)


def draw_fact(topic: Topic, scene: Scene, *, truth: Truth, rng: Random) -> SimpleFact:
    """Returns a random fact of the topic that stands to the scene as wanted.

    Raises:
        NoSuchFactError: none was found.
    """
    max_draws = _MAX_RELATION_DRAWS if topic.kind is Kind.RELATION else _MAX_DRAWS
    for _ in range(max_draws):
        fact = _draw(topic, rng)
        if truth is Truth.TRUE and fact.truth_in(scene) is Truth.FALSE:
            fact = _as_claimed(fact.corrected(scene), topic)
        if fact and fact.truth_in(scene) is truth and not _asks_for_nothing(fact, scene):
            return fact
    raise NoSuchFactError(f"no {truth} fact of kind {topic.kind}, claim {topic.claim}")


def falsified(fact: SimpleFact, scene: Scene, *, rng: Random) -> SimpleFact:
    """Returns a false answer to the fact's question, which has an answer in the scene."""
    while True:
        other = fact.reclaimed(rng)
        if other.truth_in(scene) is Truth.FALSE:
            return other


def described(scene: Scene) -> Description:
    """Returns the true description of a scene."""
    return Description(scene.contents)


def makeup_of(contents: Sequence[tuple[Cell, Thing]]) -> Makeup:
    """Returns how many blocks and signs there are."""
    num_signs = sum(isinstance(thing, Sign) for _, thing in contents)
    return Makeup(num_blocks=len(contents) - num_signs, num_signs=num_signs)


def omitting(scene: Scene, *, num_left: int, rng: Random) -> Description:
    """Returns a description that leaves things out, and is true of some other scene.

    Raises:
        NoSuchFactError: no such part of the scene could be a scene.
    """
    for _ in range(_MAX_DRAWS):
        part = rng.sample(scene.contents, num_left)
        if is_plausible([thing for _, thing in part]):
            return _in_reading_order(part)
    raise NoSuchFactError(f"no {num_left} things of this scene make a scene")


def inventing(scene: Scene, *, num_added: int, rng: Random) -> Description:
    """Returns a description with things that are not there, true of some other scene.

    Raises:
        NoSuchFactError: no such addition could be a scene.
    """
    free = [cell for cell, thing in zip(CELLS, scene.things, strict=True) if thing is None]
    for _ in range(_MAX_DRAWS):
        added = [(cell, _draw_thing(rng)) for cell in rng.sample(free, num_added)]
        whole = [*scene.contents, *added]
        if is_plausible([thing for _, thing in whole]):
            return _in_reading_order(whole)
    raise NoSuchFactError(f"no {num_added} more things fit this scene")


def redescribed(scene: Scene, *, num_wrong: int, rng: Random) -> Description:
    """Returns a description with as many things, of which `num_wrong` are another or elsewhere.

    Raises:
        NoSuchFactError: no such change could be a scene.
    """
    for _ in range(_MAX_DRAWS):
        contents = dict(scene.contents)
        for cell in rng.sample(sorted(contents, key=CELLS.index), num_wrong):
            if rng.random() < 0.5:
                contents[cell] = _other_thing(contents[cell], rng)
            else:
                thing = contents.pop(cell)
                contents[rng.choice([c for c in CELLS if c not in contents])] = thing
        fact = _in_reading_order(list(contents.items()))
        num_changed = len(set(fact.contents) - set(scene.contents))
        if num_changed == num_wrong and is_plausible(list(contents.values())):
            return fact
    raise NoSuchFactError(f"no way to get {num_wrong} things wrong")


def _as_claimed(fact: SimpleFact, topic: Topic) -> SimpleFact | None:
    """Returns the fact where it makes the topic's claim."""
    match fact:
        case CountOf():
            return fact if fact.count == topic.claim else None
        case Existence():
            return fact if fact.exists == bool(topic.claim) else None
        case _:
            return fact


def _asks_for_nothing(fact: SimpleFact, scene: Scene) -> bool:
    """Tells whether the fact counts something that is not there: no question of ours does."""
    return isinstance(fact, CountOf) and not scene.colors_of(fact.shape)


def _draw(topic: Topic, rng: Random) -> SimpleFact:
    """Returns a fact of the topic from a scene drawn uniformly."""
    match topic.kind:
        case Kind.COLOR:
            fact = ColorOf(rng.choice(SHAPES), rng.choice(COLORS))
        case Kind.COUNT:
            fact = CountOf(rng.choice(SHAPES), topic.claim)
        case Kind.EXISTENCE:
            fact = Existence(_draw_thing(rng), bool(topic.claim))
        case Kind.POSITION:
            fact = PositionOf(_draw_thing(rng), rng.choice(CELLS))
        case Kind.WORD:
            fact = WordOnSign(rng.choice(WORDS))
        case Kind.SAME_COLOR:
            first, second = (ColorOf(shape, rng.choice(COLORS)) for shape in rng.sample(SHAPES, 2))
            fact = SameColor(first, second)
        case _:
            fact = _draw_relation(rng)
    return fact


def _draw_relation(rng: Random) -> RelationOf:
    first, second = _draw_thing(rng), _draw_thing(rng)
    while second == first:
        second = _draw_thing(rng)
    first_cell, second_cell = rng.sample(CELLS, 2)
    return RelationOf(
        PositionOf(first, first_cell), rng.choice(RELATIONS), PositionOf(second, second_cell)
    )


def _draw_thing(rng: Random) -> Thing:
    if rng.random() < _SIGN_SHARE:
        return Sign(rng.choice(WORDS))
    return Block(rng.choice(COLORS), rng.choice(SHAPES))


def _other_thing(thing: Thing, rng: Random) -> Thing:
    match thing:
        case Block():
            if rng.random() < 0.5:
                return Block(rng.choice(COLORS), thing.shape)
            return Block(thing.color, rng.choice(SHAPES))
        case Sign():
            return Sign(rng.choice(WORDS))


def _in_reading_order(contents: Sequence[tuple[Cell, Thing]]) -> Description:
    return Description(tuple(sorted(contents, key=lambda pair: CELLS.index(pair[0]))))
