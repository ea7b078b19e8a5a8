from random import Random

import pytest

from align2llava.clients.wire.schemas import Turn
from align2llava.services.engines.prompts import ReviewOrder, review_messages, tagged
from examples.blocks.alignment_examples import Example, review_example, rewrite_example
from examples.blocks.train_inner_batches import IGNORED, by_length, encode
from examples.blocks.train_inner_tokenizer import PAD_ID, build_tokenizer

pytestmark = pytest.mark.timeout(120)  # the import of transformers, on a busy machine
TOKENIZER = build_tokenizer(max_length=1024)


def learnt(ids: list[int]) -> str:
    text = TOKENIZER.decode([token for token in ids if token != IGNORED])
    assert isinstance(text, str)
    return text


def test_targets_are_the_completions_and_their_end():
    examples = [rewrite_example(Random(seed)) for seed in range(6)]
    batch = encode(examples, TOKENIZER)
    for row, example in zip(batch.targets_BT.tolist(), examples, strict=True):
        assert learnt(row) == f"{example.completion}</s>"


def test_second_version_of_a_review_is_a_target_and_the_first_is_not():
    first, second = Turn(question="q1?", answer="red."), Turn(question="q2?", answer="blue.")
    messages = review_messages(first, second, order=ReviewOrder.ORIGINAL_FIRST)
    batch = encode([Example(messages=messages, completion="A")], TOKENIZER)
    version = learnt(batch.version_targets_BT[0].tolist())
    assert version == tagged(second).removeprefix("<question>")


def test_a_target_is_the_token_after_its_place():
    batch = encode([review_example(Random(3))], TOKENIZER)
    ids, targets = batch.ids_BT[0].tolist(), batch.version_targets_BT[0].tolist()
    places = [place for place, target in enumerate(targets[:-1]) if target != IGNORED]
    assert places
    assert [targets[place] for place in places] == [ids[place + 1] for place in places]


def test_padding_is_no_target():
    batch = encode([rewrite_example(Random(seed)) for seed in range(8)], TOKENIZER)
    is_padding = batch.ids_BT == PAD_ID
    assert is_padding.any()
    assert (batch.targets_BT[is_padding] == IGNORED).all()


@pytest.mark.parametrize("num_examples", [1, 2, 7, 16])
def test_groups_hold_every_example_once_from_short_to_long(num_examples: int):
    examples = [rewrite_example(Random(seed)) for seed in range(num_examples)]
    groups = by_length(examples)
    lengths = [len(example.messages[0].content) for group in groups for example in group]
    assert lengths == sorted(len(example.messages[0].content) for example in examples)
    assert all(groups)
