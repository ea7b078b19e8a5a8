"""LLaVA records about scenes, good and bad, and the truth about each.

A record is planned before a scene is looked at: type, topics, style and flaw. The scene is the
first unused one that has such facts, so the text of a plan does not depend on its flaw.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from examples.blocks.defects import Defect, falsehood
from examples.blocks.drafts import (
    draft_description,
    draw_dialogue_topics,
    draw_facts,
    draw_falsehood,
    draw_flawed,
    draw_reasoning_topics,
    true_description,
)
from examples.blocks.facts import Truth
from examples.blocks.language import Turn, answer, question
from examples.blocks.phrases import ACCEPTABLE, FILLERS, GENERIC, REFUSALS, Style
from examples.blocks.sampling import Makeup, NoSuchFactError, Topic, makeup_of
from examples.blocks.scene import Scene


class RecordType(StrEnum):
    """LLaVA's three types."""

    CONVERSATION = "conversation"
    DETAIL = "detail"
    COMPLEX_REASONING = "complex_reasoning"


class Flaw(StrEnum):
    """What a plan gets wrong."""

    NONE = "none"
    UNANSWERABLE = "unanswerable"
    GENERIC = "generic"
    FALSE = "false"
    RAMBLING = "rambling"
    FOREIGN = "foreign"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A scene and the file that shows it."""

    file_name: str
    scene: Scene

    @property
    def stem(self) -> str:
        """The id of every record about it."""
        return self.file_name.rsplit(".", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A record before its scene is known; `makeup` is that of a description, else None."""

    type: RecordType
    flaw: Flaw
    is_false_too: bool  # beside a flaw that the text shows
    topics: tuple[Topic, ...]
    makeup: Makeup | None
    num_things: int  # a description's scene holds as many; 0 = any
    style: Style


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A record's turns and everything that is wrong with them."""

    picture: Picture
    type: RecordType
    turns: tuple[Turn, ...]
    defects: frozenset[Defect]


# Of every ten questions about six are good, and of the answers to those about six.
_DIALOGUE_FLAWS: dict[Flaw, float] = {
    Flaw.NONE: 0.385,
    Flaw.UNANSWERABLE: 0.25,
    Flaw.GENERIC: 0.125,
    Flaw.FALSE: 0.145,
    Flaw.RAMBLING: 0.035,
    Flaw.FOREIGN: 0.04,
    Flaw.REFUSAL: 0.02,
}
_DETAIL_FLAWS: dict[Flaw, float] = {
    Flaw.NONE: 0.45,
    Flaw.FALSE: 0.36,
    Flaw.RAMBLING: 0.09,
    Flaw.FOREIGN: 0.1,
}
_FALSE_TOO_SHARE = 0.25
_TEXT_FLAWS = (Flaw.RAMBLING, Flaw.FOREIGN)


def draw_records(
    pictures: Sequence[Picture], counts: dict[RecordType, int], *, rng: Random
) -> list[Labelled]:
    """Returns records in random order; no picture serves two records of one type.

    Raises:
        NoSuchFactError: there are too few pictures for the counts.
    """
    records: list[Labelled] = []
    for record_type, count in counts.items():
        unused = rng.sample(pictures, len(pictures))
        plans = [draw_plan(record_type, pictures=pictures, rng=rng) for _ in range(count)]
        records += [_take(plan, unused=unused, rng=rng) for plan in plans]
    rng.shuffle(records)
    return records


def draw_plan(record_type: RecordType, *, pictures: Sequence[Picture], rng: Random) -> Plan:
    """Returns a random plan; a description's makeup is that of a random picture."""
    shares = _DETAIL_FLAWS if record_type is RecordType.DETAIL else _DIALOGUE_FLAWS
    flaw = rng.choices(list(shares), list(shares.values()))[0]
    is_false_too = flaw in _TEXT_FLAWS and rng.random() < _FALSE_TOO_SHARE
    topics: tuple[Topic, ...] = ()
    makeup, num_things = None, 0
    match record_type:
        case RecordType.CONVERSATION:
            topics = draw_dialogue_topics(rng.randint(2, 5), rng)
        case RecordType.COMPLEX_REASONING:
            topics = draw_reasoning_topics(rng)
        case RecordType.DETAIL:
            makeup = makeup_of(rng.choice(pictures).scene.contents)
            num_things = makeup.num_blocks + makeup.num_signs
            if flaw is Flaw.FALSE or is_false_too:
                num_things = draw_falsehood(makeup, rng)
    return Plan(
        type=record_type,
        flaw=flaw,
        is_false_too=is_false_too,
        topics=topics,
        makeup=makeup,
        num_things=num_things,
        style=rng.choice(ACCEPTABLE),
    )


def carried_out(plan: Plan, picture: Picture, *, rng: Random) -> Labelled:
    """Returns the planned record about this picture.

    Raises:
        NoSuchFactError: the scene has no such facts; another may.
    """
    if plan.makeup is None:
        turns, defects = _dialogue(plan, picture.scene, rng)
    else:
        turns, defects = _description(plan, plan.makeup, scene=picture.scene, rng=rng)
    return Labelled(picture=picture, type=plan.type, turns=turns, defects=defects)


def llava_record(record: Labelled, rng: Random) -> dict[str, object]:
    """Returns the record as LLaVA writes it; the image tag stands before or after."""
    conversations: list[dict[str, str]] = []
    for turn in record.turns:
        conversations.append({"from": "human", "value": turn.question})
        conversations.append({"from": "gpt", "value": turn.answer})
    first = conversations[0]
    first["value"] = tagged(first["value"], rng)
    return {
        "id": record.picture.stem,
        "image": record.picture.file_name,
        "conversations": conversations,
    }


def tagged(text: str, rng: Random) -> str:
    """Returns a first question with its image tag."""
    return f"<image>\n{text}" if rng.random() < 0.5 else f"{text}\n<image>"


def truth_line(record: Labelled) -> dict[str, object]:
    """Returns the record's line of the truth sidecar."""
    return {
        "id": record.picture.stem,
        "type": record.type.value,
        "good": not record.defects,
        "defects": sorted(record.defects),
    }


def rambling(text: str, rng: Random) -> str:
    """Returns the answer with sentences after it that say nothing."""
    return " ".join([text, *rng.sample(FILLERS, rng.randint(2, 3))])


def _take(plan: Plan, *, unused: list[Picture], rng: Random) -> Labelled:
    for picture in unused:
        try:
            record = carried_out(plan, picture, rng=rng)
        except NoSuchFactError:
            continue
        unused.remove(picture)
        return record
    raise NoSuchFactError(f"none of {len(unused)} pictures fits {plan}")


def _truths(plan: Plan, rng: Random) -> tuple[Truth, ...]:
    match plan.flaw:
        case Flaw.UNANSWERABLE:
            return draw_flawed(plan.topics, Truth.UNANSWERABLE, rng)
        case Flaw.FALSE:
            return draw_flawed(plan.topics, Truth.FALSE, rng)
        case _ if plan.is_false_too:
            return draw_flawed(plan.topics, Truth.FALSE, rng)
        case _:
            return tuple(Truth.TRUE for _ in plan.topics)


def _dialogue(plan: Plan, scene: Scene, rng: Random) -> tuple[tuple[Turn, ...], frozenset[Defect]]:
    truths = _truths(plan, rng)
    facts = draw_facts(plan.topics, truths, scene=scene, rng=rng)
    answer_style = Style.FOREIGN if plan.flaw is Flaw.FOREIGN else plan.style
    turns = [Turn(question(fact, plan.style), answer(fact, answer_style)) for fact in facts]
    defects = {
        falsehood(fact) for fact, truth in zip(facts, truths, strict=True) if truth is Truth.FALSE
    }
    if Truth.UNANSWERABLE in truths:
        defects.add(Defect.UNANSWERABLE_QUESTION)
    spoiled, defect = _spoiled(turns, plan, rng)
    return tuple(spoiled), frozenset(defects | defect)


def _spoiled(turns: Sequence[Turn], plan: Plan, rng: Random) -> tuple[list[Turn], set[Defect]]:
    """Returns the turns with the flaw that the text shows, if the plan has one."""
    flawed = set(rng.sample(range(len(turns)), rng.randint((len(turns) + 1) // 2, len(turns))))

    def spoil(each: Iterable[Turn]) -> list[Turn]:
        return [
            turn if index in flawed else before
            for index, (turn, before) in enumerate(zip(each, turns, strict=True))
        ]

    match plan.flaw:
        case Flaw.GENERIC:
            generic = [Turn(p.question, p.answer) for p in rng.sample(GENERIC, len(turns))]
            return spoil(generic), {Defect.GENERIC_QUESTION}
        case Flaw.RAMBLING:
            long = [Turn(turn.question, rambling(turn.answer, rng)) for turn in turns]
            return spoil(long), {Defect.RAMBLING}
        case Flaw.REFUSAL:
            refused = [Turn(turn.question, rng.choice(REFUSALS)) for turn in turns]
            return spoil(refused), {Defect.REFUSAL}
        case Flaw.FOREIGN:
            return list(turns), {Defect.FOREIGN_STYLE}
        case _:
            return list(turns), set()


def _description(
    plan: Plan, makeup: Makeup, *, scene: Scene, rng: Random
) -> tuple[tuple[Turn, ...], frozenset[Defect]]:
    if len(scene.contents) != plan.num_things:
        raise NoSuchFactError(f"the scene has not {plan.num_things} things")
    if plan.flaw is Flaw.FALSE or plan.is_false_too:
        draft = draft_description(makeup, scene=scene, rng=rng)
    else:
        draft = true_description(scene)
        if makeup_of(scene.contents) != makeup:
            raise NoSuchFactError(f"the scene has not {makeup}")
    answer_style = Style.FOREIGN if plan.flaw is Flaw.FOREIGN else plan.style
    turn = Turn(question(draft.fact, plan.style), answer(draft.fact, answer_style))
    spoiled, defects = _spoiled([turn], plan, rng)
    return tuple(spoiled), draft.defects | defects
