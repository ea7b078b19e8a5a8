"""Evaluation items: one true question and answer per item, for each of eight skills."""

from collections.abc import Sequence
from enum import StrEnum
from random import Random

from examples.blocks.drafts import true_description
from examples.blocks.facts import Fact, Kind, Truth
from examples.blocks.language import said
from examples.blocks.phrases import ACCEPTABLE
from examples.blocks.records import Picture
from examples.blocks.sampling import NoSuchFactError, draw_fact, draw_topic

ITEMS_PER_SKILL = 40


class Skill(StrEnum):
    """What an item asks of a model."""

    COLOR = "color"
    COUNT = "count"
    EXISTENCE = "existence"
    POSITION = "position"
    RELATION = "relation"
    WORD = "word"
    DESCRIPTION = "description"
    REASONING = "reasoning"


_KINDS: dict[Skill, Kind] = {
    Skill.COLOR: Kind.COLOR,
    Skill.COUNT: Kind.COUNT,
    Skill.EXISTENCE: Kind.EXISTENCE,
    Skill.POSITION: Kind.POSITION,
    Skill.RELATION: Kind.RELATION,
    Skill.WORD: Kind.WORD,
    Skill.DESCRIPTION: Kind.DESCRIPTION,
    Skill.REASONING: Kind.SAME_COLOR,
}


def skill_items(
    skill: Skill, pictures: Sequence[Picture], *, rng: Random
) -> list[dict[str, object]]:
    """Returns LLaVA records with a `skill` field, of one turn each, over different pictures."""
    items: list[dict[str, object]] = []
    unused = rng.sample(pictures, len(pictures))
    for number in range(ITEMS_PER_SKILL):
        picture, fact = _take(skill, unused=unused, rng=rng)
        turn = said(fact, rng.choice(ACCEPTABLE))
        items.append(
            {
                "id": f"{skill}-{number:03d}",
                "image": picture.file_name,
                "skill": skill.value,
                "conversations": [
                    {"from": "human", "value": f"<image>\n{turn.question}"},
                    {"from": "gpt", "value": turn.answer},
                ],
            }
        )
    return items


def _take(skill: Skill, *, unused: list[Picture], rng: Random) -> tuple[Picture, Fact]:
    if skill is Skill.DESCRIPTION:
        picture = unused.pop()
        return picture, true_description(picture.scene).fact
    topic = draw_topic(_KINDS[skill], rng)
    for picture in unused:
        try:
            fact = draw_fact(topic, picture.scene, truth=Truth.TRUE, rng=rng)
        except NoSuchFactError:
            continue
        unused.remove(picture)
        return picture, fact
    raise NoSuchFactError(f"no picture for skill {skill}, {topic}")
