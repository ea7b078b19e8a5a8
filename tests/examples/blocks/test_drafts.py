import itertools
from collections import Counter
from random import Random

from examples.blocks.defects import Defect
from examples.blocks.drafts import (
    SIZE_SHARES,
    can_be_unanswerable,
    draft_description,
    draw_dialogue_topics,
    draw_facts,
    draw_falsehood,
    draw_flawed,
    draw_misdescription,
    draw_reasoning_topics,
    true_description,
)
from examples.blocks.facts import Description, Truth
from examples.blocks.language import question
from examples.blocks.phrases import Style
from examples.blocks.sampling import Makeup, NoSuchFactError, makeup_of
from examples.blocks.scene import draw_scenes

SCENES = 60


def test_every_dialogue_can_be_made_unanswerable():
    rng = Random(0)
    for _ in range(100):
        topics = draw_dialogue_topics(rng.randint(2, 5), rng)
        assert any(map(can_be_unanswerable, topics))
        assert can_be_unanswerable(draw_reasoning_topics(rng)[0])


def test_flaws_hit_at_least_half_of_the_turns_that_can_have_them():
    rng = Random(0)
    for _ in range(100):
        topics = draw_dialogue_topics(5, rng)
        truths = draw_flawed(topics, Truth.UNANSWERABLE, rng)
        able = [
            truth for topic, truth in zip(topics, truths, strict=True) if can_be_unanswerable(topic)
        ]
        assert 2 * able.count(Truth.UNANSWERABLE) >= len(able)
        assert truths.count(Truth.UNANSWERABLE) == able.count(Truth.UNANSWERABLE)
        assert 2 * draw_flawed(topics, Truth.FALSE, rng).count(Truth.FALSE) >= len(topics)


def test_facts_stand_as_wanted_and_no_question_comes_twice():
    rng = Random(0)
    num_found = 0
    for scene in itertools.islice(draw_scenes(0, "drafts"), SCENES):
        topics = draw_dialogue_topics(4, rng)
        truths = draw_flawed(topics, Truth.FALSE, rng)
        try:
            facts = draw_facts(topics, truths, scene=scene, rng=rng)
        except NoSuchFactError:
            continue
        num_found += 1
        assert tuple(fact.truth_in(scene) for fact in facts) == truths
        assert len({question(fact, Style.NATIVE) for fact in facts}) == len(facts)
    assert num_found > SCENES // 10


def test_size_shares_are_those_of_drawn_scenes():
    sizes = Counter(
        len(scene.contents) for scene in itertools.islice(draw_scenes(0, "sizes"), 3000)
    )
    assert set(sizes) == set(SIZE_SHARES)
    assert all(abs(sizes[size] / 3000 - share) < 0.03 for size, share in SIZE_SHARES.items())


def test_drafted_descriptions_have_the_wanted_makeup_and_name_their_defect():
    rng = Random(0)
    seen: set[Defect] = set()
    for scene in itertools.islice(draw_scenes(0, "drafts"), SCENES):
        try:
            draft = draft_description(Makeup(num_blocks=4, num_signs=1), scene=scene, rng=rng)
        except NoSuchFactError:
            continue
        assert isinstance(draft.fact, Description)
        assert makeup_of(draft.fact.contents) == Makeup(num_blocks=4, num_signs=1)
        assert draft.fact.truth_in(scene) is Truth.FALSE
        seen |= draft.defects
    assert seen == {Defect.OMISSION, Defect.INVENTED_OBJECT, Defect.WRONG_ANSWER}


def test_a_longer_description_is_no_likelier_to_be_true():
    rng = Random(0)
    longer = shorter = 0
    for scene in itertools.islice(draw_scenes(0, "lengths"), 1500):
        draft, true = draw_misdescription(scene, rng=rng), true_description(scene)
        assert draft.fact.truth_in(scene) is Truth.FALSE
        assert true.defects == frozenset()
        longer += draft.defects == {Defect.INVENTED_OBJECT}
        shorter += draft.defects == {Defect.OMISSION}
    assert min(longer, shorter) > 150
    assert abs(longer - shorter) < 0.3 * (longer + shorter)


def test_falsehoods_are_about_scenes_that_exist():
    rng = Random(0)
    sizes = {draw_falsehood(Makeup(num_blocks=5, num_signs=1), rng) for _ in range(100)}
    assert sizes == {5, 6}
