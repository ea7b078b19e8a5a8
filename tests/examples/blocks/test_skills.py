import itertools
from random import Random
from typing import Any, cast

import pytest

from examples.blocks.facts import Kind, holds
from examples.blocks.language import Turn, read
from examples.blocks.records import Picture
from examples.blocks.scene import draw_scenes
from examples.blocks.skills import ITEMS_PER_SKILL, Skill, skill_items

PICTURES = [
    Picture(file_name=f"{index:04d}.png", scene=scene)
    for index, scene in enumerate(itertools.islice(draw_scenes(6, "skills"), 160))
]


def items_of(skill: Skill) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", skill_items(skill, PICTURES, rng=Random(0)))


@pytest.mark.parametrize("skill", list(Skill))
def test_items_are_true_and_ask_for_their_skill(skill: Skill):
    scenes = {picture.file_name: picture.scene for picture in PICTURES}
    items = items_of(skill)
    assert len(items) == ITEMS_PER_SKILL == len({item["image"] for item in items})
    for item in items:
        human, gpt = item["conversations"]
        reading = read(Turn(human["value"].removeprefix("<image>\n"), gpt["value"]))
        assert reading is not None
        assert holds(reading.fact, scenes[item["image"]])
        assert item["skill"] == skill


def test_the_eight_skills_cover_every_kind_of_fact():
    kinds = set()
    for skill in Skill:
        human, gpt = items_of(skill)[0]["conversations"]
        reading = read(Turn(human["value"].removeprefix("<image>\n"), gpt["value"]))
        assert reading is not None
        kinds.add(type(reading.fact))
    assert len(kinds) == len(Skill) == len(Kind)
