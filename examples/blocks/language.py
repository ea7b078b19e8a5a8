"""Says facts in a style, and reads facts and styles back from the text. Knows no scene, no defects.

Reading is exact: a text is read only where saying the fact gives the same text again.
"""

import re
from dataclasses import dataclass
from functools import cache

from examples.blocks.facts import (
    FACT_TYPES,
    PLURALS,
    RELATIONS,
    Description,
    Fact,
    Kind,
    SimpleFact,
    Slots,
    kind_of,
    thing_named,
)
from examples.blocks.phrases import FILLERS, LISTINGS, PHRASES, Listing, Style
from examples.blocks.scene import CELLS, COLORS, SHAPES, WORDS, Cell


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer, without image tag."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a turn says, and in which styles."""

    fact: Fact
    question_style: Style
    answer_style: Style

    @property
    def is_native(self) -> bool:
        """Whether question and answer are both in the inner LLM's own style."""
        return self.question_style is Style.NATIVE and self.answer_style is Style.NATIVE


def question(fact: Fact, style: Style) -> str:
    """Returns the question to which the fact is the answer."""
    if isinstance(fact, Description):
        return LISTINGS[style].question
    return PHRASES[kind_of(fact)][style].question.format_map(fact.slots())


def answer(fact: Fact, style: Style) -> str:
    """Returns the answer that states the fact."""
    if isinstance(fact, Description):
        return _listed(fact, LISTINGS[style])
    return PHRASES[kind_of(fact)][style].answer.format_map(fact.slots())


def said(fact: Fact, style: Style) -> Turn:
    """Returns question and answer in one style."""
    return Turn(question(fact, style), answer(fact, style))


def read(turn: Turn) -> Reading | None:
    """Returns what a turn says; None where it is no question of this world and its plain answer.

    Filler sentences are passed over. An answer that contradicts itself cannot be read.
    """
    plain = Turn(turn.question.strip(), without_fillers(turn.answer))
    for kind, question_style, slots in _questions_like(plain.question):
        for answer_style in Style:
            fact = _fact_of(kind, slots=slots, text=plain.answer, style=answer_style)
            if fact is not None and question(fact, question_style) == plain.question:
                return Reading(fact=fact, question_style=question_style, answer_style=answer_style)
    return None


def is_native(turn: Turn) -> bool:
    """Tells whether the turn is in the inner LLM's own style, with nothing added."""
    reading = read(turn)
    return reading is not None and reading.is_native and turn.answer == without_fillers(turn.answer)


def without_fillers(text: str) -> str:
    """Returns the text without the sentences that say nothing."""
    for filler in FILLERS:
        text = text.replace(filler, "")
    return " ".join(text.split())


def question_kind(text: str) -> Kind | None:
    """Returns what kind of fact a question asks for; None for a question of no kind."""
    for kind, _, _ in _questions_like(text.strip()):
        return kind
    return None


def _questions_like(text: str) -> list[tuple[Kind, Style, Slots]]:
    found: list[tuple[Kind, Style, Slots]] = [
        (Kind.DESCRIPTION, style, {})
        for style, listing in LISTINGS.items()
        if listing.question == text
    ]
    for kind, phrases in PHRASES.items():
        for style, phrase in phrases.items():
            match = _pattern(phrase.question).fullmatch(text)
            if match:
                found.append((kind, style, match.groupdict()))
    return found


def _fact_of(kind: Kind, *, slots: Slots, text: str, style: Style) -> Fact | None:
    if kind is Kind.DESCRIPTION:
        return _description(text, style)
    match = _pattern(PHRASES[kind][style].answer).fullmatch(text)
    if match is None:
        return None
    fact: SimpleFact = FACT_TYPES[kind].read({**slots, **match.groupdict()})
    return fact if answer(fact, style) == text else None


def _description(text: str, style: Style) -> Description | None:
    listing = LISTINGS[style]
    found = [
        (Cell(match["cell"]), thing_named(match["thing"]))
        for match in _pattern(listing.item).finditer(text)
    ]
    fact = Description(tuple(sorted(found, key=lambda pair: CELLS.index(pair[0]))))
    return fact if _listed(Description(tuple(found)), listing) == text else None


def _listed(fact: Description, listing: Listing) -> str:
    items = [
        listing.item.format(thing=thing.name, cell=cell.value) for cell, thing in fact.contents
    ]
    return listing.opening + listing.separator.join(items) + listing.closing


def _either(words: list[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_COLOR = _either(list(COLORS))
_SHAPE = _either(list(SHAPES))
_THING = f"(?:{_COLOR}) (?:{_SHAPE})|(?:{_either(list(WORDS))}) sign"
_CELL = _either(list(CELLS))
_PLURAL = _either(list(PLURALS.values()))
_SLOT_PATTERNS: dict[str, str] = {
    "shape": _SHAPE,
    "color": _COLOR,
    "shapes": _PLURAL,
    "are": "is|are",
    "count": "[0-9]",
    "counted": f"{_SHAPE}|{_PLURAL}",
    "thing": _THING,
    "yes": "Yes|No",
    "a": "a|no",
    "cell": _CELL,
    "word": _either(list(WORDS)),
    "first": _SHAPE,
    "second": _SHAPE,
    "first_color": _COLOR,
    "second_color": _COLOR,
    "first_thing": _THING,
    "second_thing": _THING,
    "first_cell": _CELL,
    "second_cell": _CELL,
    "relation": _either(list(RELATIONS)),
}


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Returns the expression that reads a template's slots back."""
    parts = re.split(r"\{(\w+)\}", template)
    texts = [
        f"(?P<{part}>{_SLOT_PATTERNS[part]})" if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    ]
    return re.compile("".join(texts))
