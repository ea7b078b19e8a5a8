import itertools
from collections import Counter
from random import Random

import pytest

from examples.blocks.facts import CountOf, Existence, Kind, Truth
from examples.blocks.language import question
from examples.blocks.phrases import Style
from examples.blocks.sampling import (
    DIALOGUE,
    PRESUPPOSING,
    REASONING,
    NoSuchFactError,
    Topic,
    described,
    draw_fact,
    draw_topic,
    falsified,
    inventing,
    makeup_of,
    omitting,
    redescribed,
)
from examples.blocks.scene import Scene, draw_scenes, is_plausible

WAYS = [
    *itertools.product((*DIALOGUE, *REASONING), (Truth.TRUE, Truth.FALSE)),
    *itertools.product((*PRESUPPOSING, *REASONING), (Truth.UNANSWERABLE,)),
]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(itertools.islice(draw_scenes(5, "sampling"), 150))


@pytest.mark.parametrize(("kind", "truth"), WAYS)
def test_facts_stand_as_wanted(kind: Kind, truth: Truth, scenes: list[Scene]):
    rng = Random(0)
    num_found = 0
    for scene in scenes[:40]:
        topic = draw_topic(kind, rng)
        try:
            fact = draw_fact(topic, scene, truth=truth, rng=rng)
        except NoSuchFactError:
            continue
        num_found += 1
        assert fact.truth_in(scene) is truth
        if isinstance(fact, CountOf):
            assert fact.count == topic.claim
            assert scene.colors_of(fact.shape)
        if isinstance(fact, Existence):
            assert fact.exists == bool(topic.claim)
    assert num_found >= 10


@pytest.mark.parametrize("kind", [*DIALOGUE, *REASONING])
def test_a_falsified_fact_answers_the_same_question(kind: Kind, scenes: list[Scene]):
    rng = Random(1)
    for scene in scenes[:20]:
        try:
            fact = draw_fact(draw_topic(kind, rng), scene, truth=Truth.TRUE, rng=rng)
        except NoSuchFactError:
            continue
        other = falsified(fact, scene, rng=rng)
        assert other.truth_in(scene) is Truth.FALSE
        assert question(other, Style.NATIVE) == question(fact, Style.NATIVE)


@pytest.mark.parametrize("truth", [Truth.TRUE, Truth.FALSE])
def test_claims_are_as_frequent_in_true_as_in_false_facts(truth: Truth, scenes: list[Scene]):
    """Counts are not uniform over scenes, so a classifier of texts would learn the frequent one."""
    rng = Random(2)
    words: Counter[int] = Counter()
    for number, scene in enumerate(scenes[:90]):
        topic = Topic(kind=Kind.COUNT, claim=1 + number % 3)
        for other in (scene, *scenes):
            try:
                fact = draw_fact(topic, other, truth=truth, rng=rng)
            except NoSuchFactError:
                continue
            assert isinstance(fact, CountOf)
            words[fact.count] += 1
            break
    assert set(words.values()) == {30}


def test_misdescriptions_are_false_here_and_true_of_some_scene(scenes: list[Scene]):
    rng = Random(3)
    for scene in scenes[:40]:
        size = len(scene.contents)
        drafts = [redescribed(scene, num_wrong=1, rng=rng)]
        if size > 3:
            drafts.append(omitting(scene, num_left=size - 1, rng=rng))
            assert set(drafts[-1].contents) < set(scene.contents)
        if size < 6:
            drafts.append(inventing(scene, num_added=1, rng=rng))
            assert set(drafts[-1].contents) > set(scene.contents)
        for draft in drafts:
            assert draft.truth_in(scene) is Truth.FALSE
            assert is_plausible([thing for _, thing in draft.contents])


def test_a_scene_is_described_truly(scenes: list[Scene]):
    for scene in scenes[:10]:
        fact = described(scene)
        makeup = makeup_of(fact.contents)
        assert fact.truth_in(scene) is Truth.TRUE
        assert makeup.num_blocks == len(scene.blocks)
        assert makeup.num_signs == len(scene.signs)


def test_what_a_scene_cannot_have_is_an_error(scenes: list[Scene]):
    without_sign = next(scene for scene in scenes if not scene.signs)
    with pytest.raises(NoSuchFactError, match="word"):
        draw_fact(Topic(kind=Kind.WORD, claim=0), without_sign, truth=Truth.TRUE, rng=Random(0))
    smallest = min(scenes, key=lambda scene: len(scene.contents))
    with pytest.raises(NoSuchFactError):
        omitting(smallest, num_left=2, rng=Random(0))
