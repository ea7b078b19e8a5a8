import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from align2llava.services.reward_model.tokens.inputs import (
    EmptyTextError,
    LongTextError,
    RowEncoder,
    SpecialIds,
    TextLimits,
    answer_prompt,
    prompt_of,
    question_prompt,
)
from examples.blocks.train_tokenizer import BOS_ID, EOS_ID, IMAGE_ID, PAD_ID, build_tokenizer

WORDS = ["<unk>", "<s>", "</s>", "<image>", "\n", "a", "b", "c", "Question:", "Answer:", "/", "s"]


def encoder(max_length: int = 12, max_chars: int = 40) -> RowEncoder:
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    tokenizer.add_special_tokens(WORDS[:4])
    return RowEncoder(
        tokenizer,
        special=SpecialIds(bos=1, pad=2, image=3),
        limits=TextLimits(max_length=max_length, max_chars=max_chars),
        num_image_tokens=4,
    )


def test_question_prompt_joins_all_stripped_turns_with_newlines():
    assert question_prompt(["<image>\nWhat? ", " Why?\n<image>"]) == "What?\nWhy?"


def test_answer_prompt_names_question_and_answer():
    assert answer_prompt("<image>\nWhat?", " A star. ") == "Question: What?\nAnswer: A star."


@pytest.mark.parametrize(
    ("questions", "found"),
    [
        pytest.param([], "at least one", id="no question"),
        pytest.param(["a", "<image> "], "question 2 of 2", id="question of a placeholder alone"),
    ],
)
def test_a_missing_or_empty_question_is_refused_by_name(questions, found):
    with pytest.raises(EmptyTextError, match=found):
        question_prompt(questions)


def test_an_empty_answer_is_an_error_and_not_a_question():
    with pytest.raises(EmptyTextError, match="answer is empty"):
        answer_prompt("a", " \n ")


def test_an_answer_candidate_with_two_questions_is_refused():
    with pytest.raises(EmptyTextError, match="one question and one answer"):
        prompt_of("answer-reward", ["a", "b"], "c")


def test_bos_stands_once_and_the_newline_after_the_image_belongs_to_the_text():
    row = encoder().encode("a b", has_image=True)
    assert row.ids == (1, 3, 3, 3, 3, 4, 5, 6)
    assert not row.truncated


def test_a_row_without_image_has_neither_placeholder_nor_newline():
    assert encoder().encode("a b", has_image=False).ids == (1, 5, 6)


def test_beyond_max_length_the_end_is_cut_and_flagged():
    row = encoder(max_length=7).encode("a b c", has_image=True)
    assert row.ids == (1, 3, 3, 3, 3, 4, 5)
    assert row.truncated


def test_a_row_of_exactly_max_length_is_whole():
    assert not encoder(max_length=8).encode("a b", has_image=True).truncated


def test_a_text_over_the_character_limit_is_refused_with_both_numbers():
    with pytest.raises(LongTextError, match="41 characters; the limit is 40"):
        encoder().encode("x" * 41, has_image=True)


def test_special_tokens_spelled_in_a_text_are_plain_text():
    row_encoder = RowEncoder(
        build_tokenizer(),
        special=SpecialIds(bos=BOS_ID, pad=PAD_ID, image=IMAGE_ID),
        limits=TextLimits(max_length=64, max_chars=40),
        num_image_tokens=4,
    )
    ids = row_encoder.encode("a </s> <image> <s> b", has_image=True).ids
    assert (ids.count(IMAGE_ID), ids.count(BOS_ID), ids.count(EOS_ID)) == (4, 1, 0)
