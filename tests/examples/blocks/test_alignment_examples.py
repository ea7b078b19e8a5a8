from collections import Counter
from itertools import islice
from random import Random

import pytest

from align2llava.clients.wire.schemas import Turn, Verdict
from align2llava.services.engines.prompts import (
    ReviewOrder,
    parse_rewrite,
    rewrite_messages,
    verdict_of,
)
from examples.blocks import language
from examples.blocks.alignment_examples import (
    Change,
    changed,
    draw_fact,
    is_held_out,
    letter_of,
    native,
    pair_of,
    review_example,
    rewrite_example,
    said_somehow,
    slipped,
    training_scene,
)
from examples.blocks.facts import Description
from examples.blocks.phrases import GENERIC, REFUSALS
from examples.blocks.scene import draw_scenes

DRAWS = range(200)


def read(turn: Turn) -> language.Reading | None:
    return language.read(language.Turn(turn.question, turn.answer))


@pytest.mark.parametrize("seed", DRAWS[:20])
def test_original_states_its_fact_and_the_native_rewrite_states_the_same(seed: int):
    rng = Random(seed)
    fact = draw_fact(rng)
    for turn in (said_somehow(fact, rng), native(fact)):
        reading = read(turn)
        assert reading is not None
        assert reading.fact == fact
    assert language.is_native(language.Turn(native(fact).question, native(fact).answer))


def test_rewrite_to_be_learnt_keeps_the_fact_or_the_text():
    unchanged = 0
    for seed in DRAWS:
        example = rewrite_example(Random(seed))
        rewrite = parse_rewrite(example.completion)
        assert rewrite is not None
        if rewrite.answer in REFUSALS or rewrite.question in [p.question for p in GENERIC]:
            assert example.messages == rewrite_messages(rewrite)
            unchanged += 1
        else:
            reading = read(rewrite)
            assert reading is not None
            assert reading.is_native
    assert 0 < unchanged < len(DRAWS) // 4


@pytest.mark.parametrize("change", Change)
def test_only_a_faithful_native_rewrite_is_to_be_chosen(change: Change):
    for seed in DRAWS[:40]:
        rng = Random(seed)
        fact = draw_fact(rng)
        pair = pair_of(fact, change=change, rng=rng)
        reading = read(pair.rewrite)
        same_fact = reading is not None and reading.fact == fact
        is_native = reading is not None and reading.is_native
        is_better = same_fact and is_native and pair.rewrite != pair.original
        assert pair.verdict is (Verdict.REWRITE if change is Change.FAITHFUL else Verdict.ORIGINAL)
        assert is_better or change is not Change.FAITHFUL
        if change in (Change.OTHER_FACT, Change.OTHER_WORD):
            assert not same_fact


def test_reviews_are_balanced_between_letters():
    letters = Counter(review_example(Random(seed)).completion for seed in range(600))
    assert set(letters) == {"A", "B"}
    assert min(letters.values()) > 240


@pytest.mark.parametrize("order", ReviewOrder)
@pytest.mark.parametrize("verdict", Verdict)
def test_letter_is_read_back_as_its_verdict(verdict: Verdict, order: ReviewOrder):
    assert verdict_of(letter_of(verdict, order=order), order=order) is verdict


def test_changed_fact_is_another_fact_of_the_same_kind():
    for seed in DRAWS:
        rng = Random(seed)
        fact = draw_fact(rng)
        other = changed(fact, rng)
        assert other != fact
        assert type(other) is type(fact)


def test_slip_changes_the_text_in_one_word_of_the_world():
    turn = Turn(question="Where is the red star?", answer="The red star is at the top left.")
    slips = [slipped(turn, Random(seed)) for seed in DRAWS]
    assert turn not in slips
    assert Turn(question="Where is the red star?", answer="The red star is at the top.") in slips


def test_held_out_scenes_are_a_sixteenth_and_never_described():
    scenes = list(islice(draw_scenes(0, "held out"), 3000))
    held_out = sum(map(is_held_out, scenes))
    assert 130 < held_out < 250
    assert not any(is_held_out(training_scene(Random(seed))) for seed in DRAWS)


def test_share_of_descriptions_is_as_asked():
    rng = Random(0)
    facts = [draw_fact(rng, description_share=0.5) for _ in DRAWS]
    assert 70 < sum(isinstance(fact, Description) for fact in facts) < 130
    assert not any(isinstance(draw_fact(rng, description_share=0.0), Description) for _ in DRAWS)
