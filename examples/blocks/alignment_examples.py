"""Draws what the inner LLM learns from: rewrites into native style, and reviews of rewrites.

Texts only, without end, from random scenes: no image and no record of the raw set is looked at.
Scenes are split by a hash of what they hold: a sixteenth of all is held out for evaluation.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from align2llava.clients.wire.schemas import Turn, Verdict
from align2llava.services.engines.api import ChatMessage
from align2llava.services.engines.prompts import (
    CHOICES,
    ReviewOrder,
    review_messages,
    rewrite_messages,
    tagged,
)
from examples.blocks import language
from examples.blocks.facts import (
    MAX_COUNT,
    PLURALS,
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
    SimpleFact,
    WordOnSign,
    kind_of,
)
from examples.blocks.phrases import FILLERS, GENERIC, REFUSALS, Style
from examples.blocks.scene import (
    CELLS,
    COLORS,
    SHAPES,
    WORDS,
    Block,
    Scene,
    Sign,
    Thing,
    draw_scene,
)

_SIMPLE_KINDS = tuple(kind for kind in Kind if kind is not Kind.DESCRIPTION)
_SIMPLE_WEIGHTS = [
    2.0 if kind in (Kind.RELATION, Kind.SAME_COLOR) else 1.0 for kind in _SIMPLE_KINDS
]
DESCRIPTION_SHARE = 0.2
_SIGN_SHARE = 0.3
_GENERIC_SHARE, _REFUSAL_SHARE = 0.04, 0.03
_RAMBLING_SHARE = 0.1
_MIXED_SHARE = 0.4  # of the turns whose answer is in another style than the question


class Change(StrEnum):
    """How a rewrite under review relates to its original."""

    FAITHFUL = "faithful"  # native, the same fact: to be chosen
    OTHER_FACT = "other_fact"  # native, another fact
    OTHER_WORD = "other_word"  # native but for one word: the slip of a bad rewriter
    NOT_NATIVE = "not_native"  # the same fact in a style that is not native
    NONE = "none"  # the original itself


_CHANGE_WEIGHTS = {
    Change.FAITHFUL: 0.5,
    Change.OTHER_FACT: 0.19,
    Change.OTHER_WORD: 0.19,
    Change.NOT_NATIVE: 0.06,
    Change.NONE: 0.06,
}


_CLASSES: tuple[tuple[str, ...], ...] = (
    COLORS,
    SHAPES,
    WORDS,
    tuple(PLURALS.values()),
    CELLS,
    tuple(str(count) for count in range(1, MAX_COUNT + 1)),
    ("Yes", "No"),
)
_CLASS_OF = {word: words for words in _CLASSES for word in words}
WORLD_WORDS = frozenset(_CLASS_OF)
_WORD = re.compile(rf"\b(?:{'|'.join(sorted(_CLASS_OF, key=len, reverse=True))})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A chat prompt and the completion to be learnt."""

    messages: tuple[ChatMessage, ...]
    completion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An original, a rewrite of it, how they relate, and which of them is to be kept."""

    original: Turn
    rewrite: Turn
    change: Change

    @property
    def verdict(self) -> Verdict:
        """The verdict a reviewer should give."""
        return Verdict.REWRITE if self.change is Change.FAITHFUL else Verdict.ORIGINAL


def is_held_out(scene: Scene) -> bool:
    """Tells whether the scene belongs to evaluation: no training example describes it."""
    named = ";".join(f"{cell}={thing.name}" for cell, thing in scene.contents)
    return hashlib.blake2b(named.encode(), digest_size=1).digest()[0] < 16


def training_scene(rng: Random) -> Scene:
    """Returns a random scene that is not held out."""
    while is_held_out(scene := draw_scene(rng)):
        pass
    return scene


def rewrite_example(rng: Random, *, description_share: float = DESCRIPTION_SHARE) -> Example:
    """Returns a random turn and its native rewrite; a turn that states no fact stays unchanged."""
    if rng.random() < _GENERIC_SHARE + _REFUSAL_SHARE:
        original = _unreadable(rng)
        rewrite = original
    else:
        fact = draw_fact(rng, description_share=description_share)
        original, rewrite = said_somehow(fact, rng), native(fact)
    return Example(messages=rewrite_messages(original), completion=tagged(rewrite))


def review_example(rng: Random, *, description_share: float = DESCRIPTION_SHARE) -> Example:
    """Returns a random pair, shown in a random order, and the letter to answer."""
    change = rng.choices(list(_CHANGE_WEIGHTS), weights=list(_CHANGE_WEIGHTS.values()))[0]
    fact = draw_fact(rng, description_share=description_share)
    pair = pair_of(fact, change=change, rng=rng)
    order = rng.choice(list(ReviewOrder))
    messages = review_messages(pair.original, pair.rewrite, order=order)
    return Example(messages=messages, completion=letter_of(pair.verdict, order=order))


def letter_of(verdict: Verdict, *, order: ReviewOrder) -> str:
    """Returns the letter that means `verdict` in a prompt shown in `order`."""
    is_first = (verdict is Verdict.ORIGINAL) is (order is ReviewOrder.ORIGINAL_FIRST)
    return CHOICES[0 if is_first else 1]


def pair_of(fact: Fact, *, change: Change, rng: Random) -> Pair:
    """Returns an original that states `fact` and a rewrite that relates to it by `change`."""
    original = said_somehow(fact, rng)
    match change:
        case Change.FAITHFUL:
            while original == native(fact):
                original = said_somehow(fact, rng)
            rewrite = native(fact)
        case Change.OTHER_FACT:
            rewrite = native(changed(fact, rng))
        case Change.OTHER_WORD:
            rewrite = slipped(native(fact), rng)
        case Change.NOT_NATIVE:
            rewrite = said_somehow(fact, rng)
            while rewrite in (native(fact), original):
                rewrite = said_somehow(fact, rng)
        case Change.NONE:
            rewrite = original
    return Pair(original=original, rewrite=rewrite, change=change)


def native(fact: Fact) -> Turn:
    """Returns question and answer in the inner LLM's own style."""
    return _turn(language.said(fact, Style.NATIVE))


def said_somehow(fact: Fact, rng: Random) -> Turn:
    """Returns the fact in random styles of question and answer, sometimes with filler sentences."""
    style = rng.choice(list(Style))
    answer_style = rng.choice(list(Style)) if rng.random() < _MIXED_SHARE else style
    answer = language.answer(fact, answer_style)
    if rng.random() < _RAMBLING_SHARE:
        answer = " ".join([answer, *rng.sample(FILLERS, rng.randint(2, 3))])
    return Turn(question=language.question(fact, style), answer=answer)


def draw_fact(rng: Random, *, description_share: float = DESCRIPTION_SHARE) -> Fact:
    """Returns the description of a random scene that is not held out, or another random fact."""
    if rng.random() < description_share:
        return Description(training_scene(rng).contents)
    return _simple_fact(rng.choices(_SIMPLE_KINDS, weights=_SIMPLE_WEIGHTS)[0], rng)


def changed(fact: Fact, rng: Random) -> Fact:
    """Returns another fact: another answer to the same question, else another question."""
    while True:
        match fact:
            case Description():
                other: Fact = _redescribed(fact, rng)
            case _ if rng.random() < 0.75:
                other = fact.reclaimed(rng)
            case _:
                other = _simple_fact(kind_of(fact), rng)
        if native(other) != native(fact):
            return other


def slipped(turn: Turn, rng: Random) -> Turn:
    """Returns the turn with one word of the world replaced by another of its class."""
    text = f"{turn.question}\n{turn.answer}"
    match = rng.choice(list(_WORD.finditer(text)))
    others = [word for word in _CLASS_OF[match[0]] if word != match[0]]
    text = text[: match.start()] + rng.choice(others) + text[match.end() :]
    question, answer = text.split("\n")
    return Turn(question=question, answer=answer)


def _unreadable(rng: Random) -> Turn:
    if rng.random() < _GENERIC_SHARE / (_GENERIC_SHARE + _REFUSAL_SHARE):
        phrase = rng.choice(GENERIC)
        return Turn(question=phrase.question, answer=phrase.answer)
    question = language.question(draw_fact(rng, description_share=0.0), rng.choice(list(Style)))
    return Turn(question=question, answer=rng.choice(REFUSALS))


def _turn(turn: language.Turn) -> Turn:
    return Turn(question=turn.question, answer=turn.answer)


def _redescribed(fact: Description, rng: Random) -> Description:
    contents = dict(fact.contents)
    free = [cell for cell in CELLS if cell not in contents]
    cell = rng.choice(list(contents))
    match rng.randrange(4):
        case 0:
            del contents[cell]
        case 1 if free:
            contents[rng.choice(free)] = contents.pop(cell)
        case 2 if free:
            contents[rng.choice(free)] = _thing(rng)
        case _:
            contents[cell] = _thing(rng)
    return Description(tuple(sorted(contents.items(), key=lambda pair: CELLS.index(pair[0]))))


def _thing(rng: Random) -> Thing:
    if rng.random() < _SIGN_SHARE:
        return Sign(rng.choice(WORDS))
    return Block(rng.choice(COLORS), rng.choice(SHAPES))


def _color_of(rng: Random) -> ColorOf:
    return ColorOf(rng.choice(SHAPES), rng.choice(COLORS))


def _position_of(rng: Random) -> PositionOf:
    return PositionOf(_thing(rng), rng.choice(CELLS))


def _simple_fact(kind: Kind, rng: Random) -> SimpleFact:
    """Returns a random fact of a kind that is no description, of any scene."""
    draw: dict[Kind, Callable[[], SimpleFact]] = {
        Kind.COLOR: lambda: _color_of(rng),
        Kind.COUNT: lambda: CountOf(rng.choice(SHAPES), rng.randint(1, MAX_COUNT)),
        Kind.EXISTENCE: lambda: Existence(_thing(rng), rng.random() < 0.5),
        Kind.POSITION: lambda: _position_of(rng),
        Kind.WORD: lambda: WordOnSign(rng.choice(WORDS)),
        Kind.SAME_COLOR: lambda: SameColor(_color_of(rng), _color_of(rng)),
        Kind.RELATION: lambda: RelationOf(
            _position_of(rng), rng.choice(RELATIONS), _position_of(rng)
        ),
    }
    return draw[kind]()
