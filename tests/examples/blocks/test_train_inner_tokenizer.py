from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from align2llava.services.engines.prompts import REWRITE_INSTRUCTION
from examples.blocks.alignment_examples import rewrite_example
from examples.blocks.train_inner_batches import prompt_ids, text_ids
from examples.blocks.train_inner_tokenizer import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    build_tokenizer,
)

pytestmark = pytest.mark.timeout(120)  # the import of transformers, on a busy machine
TOKENIZER = build_tokenizer(max_length=1024)
MODEL_DIR = Path("examples/blocks/models/inner-llm")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_decodes_to_itself(text: str):
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_words_of_the_world_and_instructions_are_one_token_each():
    texts = [
        " red",
        " triangles",
        "Where",
        " bottom",
        " bottom left",
        " red star",
        "<question>",
        REWRITE_INSTRUCTION,
    ]
    assert [len(text_ids(text, TOKENIZER)) for text in texts] == [1] * len(texts)


def test_a_name_inside_a_longer_word_is_left_alone():
    assert TOKENIZER.decode(text_ids(" red stars", TOKENIZER)[:1]) == " red"


def test_special_tokens_have_the_ids_of_the_recipe():
    assert TOKENIZER.convert_ids_to_tokens([PAD_ID, BOS_ID, EOS_ID]) == list(SPECIAL_TOKENS[:3])


def test_committed_tokenizer_is_the_one_of_the_recipe():
    committed = AutoTokenizer.from_pretrained(MODEL_DIR)
    example = rewrite_example(Random(1))
    assert prompt_ids(example.messages, committed) == prompt_ids(example.messages, TOKENIZER)
    assert committed.get_vocab() == TOKENIZER.get_vocab()
