import math
from pathlib import Path

import pytest

from align2llava.services.engines.api import Candidate, RowReward
from align2llava.services.engines.reward_rows import (
    LongText,
    identity_on,
    outcome_of,
    refuse_other_kind,
    row_of,
)
from align2llava.services.errors import InternalError, InvalidRequestError, TooLargeError
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import RewardFile
from align2llava.services.reward_model.tokens.inputs import LongTextError, TokenRow
from align2llava.services.reward_model.tokens.pixels import ImageMode

FILE = RewardFile(name="x", kind="answer-reward", image_mode=ImageMode.PAD, max_length=8)
ROW = TokenRow(ids=(1, 2, 3), truncated=False)


def encoded(prompt: str) -> TokenRow:
    if "endless" in prompt:
        raise LongTextError("the text has 9 characters; the limit is 8")
    return TokenRow(ids=tuple(range(len(prompt))), truncated="long" in prompt)


def row(answer: str, long_text: LongText = "truncate"):
    candidate = Candidate(questions=("What is it?",), answer=answer)
    return row_of(candidate, file=FILE, encode=encoded, long_text=long_text)


def test_a_candidate_becomes_the_row_of_its_prompt():
    assert row("A star.") == encoded("Question: What is it?\nAnswer: A star.")


def test_an_empty_text_is_an_invalid_request():
    assert isinstance(row(" "), InvalidRequestError)


def test_too_many_characters_are_too_large():
    assert isinstance(row("endless"), TooLargeError)


def test_a_text_beyond_the_context_is_cut_or_refused_by_setting():
    cut, refused = row("long"), row("long", long_text="refuse")
    assert isinstance(cut, TokenRow)
    assert cut.truncated
    assert isinstance(refused, TooLargeError)
    assert "more than 8 tokens" in refused.message


def test_a_finite_reward_is_the_rows_outcome():
    assert outcome_of(ROW, 0.5, place=0) == RowReward(reward=0.5, num_tokens=3, truncated=False)


@pytest.mark.parametrize("reward", [math.nan, math.inf, None], ids=["nan", "inf", "missing"])
def test_any_other_reward_is_the_models_fault_and_names_the_candidate(reward):
    outcome = outcome_of(ROW, reward, place=3)
    assert isinstance(outcome, InternalError)
    assert "candidate 3" in outcome.message


def test_errors_of_rows_and_of_the_engine_stay_what_they_are():
    error = TooLargeError("too long")
    assert outcome_of(error, None, place=0) is error
    assert outcome_of(ROW, error, place=0) is error


def test_a_model_of_the_other_kind_is_refused_by_its_folder():
    refuse_other_kind(FILE, kind="answer-reward", folder=Path("m"))
    with pytest.raises(CheckpointError, match="m holds the model of answer-reward"):
        refuse_other_kind(FILE, kind="question-reward", folder=Path("m"))


def test_the_identity_says_model_and_engine():
    found = identity_on(
        "abacus 1", FILE, identity="a", weights_sha256="b", dtype="float32", purpose="shapes"
    )
    assert (found.kind, found.engine, found.purpose) == ("answer-reward", "abacus 1", "shapes")
    assert found.template_version == FILE.prompt_version
