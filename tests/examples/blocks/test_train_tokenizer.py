import pytest

from examples.blocks.phrases import FILLERS, PHRASES
from examples.blocks.train_tokenizer import (
    BOS_ID,
    EOS_ID,
    IMAGE_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    build_tokenizer,
)


def tokens(text: str) -> list[str]:
    return build_tokenizer().encode(text, add_special_tokens=False).tokens


def test_every_word_and_mark_of_the_world_is_one_token():
    assert len(tokens("The aforementioned inscription proclaims GO proudly.")) == 7
    for text in FILLERS:
        words = len(text.split())
        assert len(tokens(text)) == words + sum(text.count(mark) for mark in ",.?")


def test_all_templates_of_a_style_are_known():
    for styles in PHRASES.values():
        for phrase in styles.values():
            pieces = tokens(phrase.question.replace("{", " ").replace("}", " "))
            assert len(pieces) < 40


def test_other_words_fall_apart_into_letters_and_bytes():
    assert tokens("xyz")[1:] == ["x", "y", "z"]
    assert "<0xC3>" in tokens("caf\u00e9")


def test_text_comes_back_from_its_tokens():
    tokenizer = build_tokenizer()
    text = "Is the red star left of the GO sign?"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


@pytest.mark.parametrize(
    ("name", "number"),
    [("<s>", BOS_ID), ("</s>", EOS_ID), ("<pad>", PAD_ID), ("<image>", IMAGE_ID)],
)
def test_special_tokens_have_llamas_places(name, number):
    assert SPECIAL_TOKENS[number] == name
    assert build_tokenizer().token_to_id(name) == number


def test_two_builds_are_equal():
    assert build_tokenizer().to_str() == build_tokenizer().to_str()
