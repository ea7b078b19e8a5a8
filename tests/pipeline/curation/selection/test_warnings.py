from decimal import Decimal

import polars as pl
import pytest

from align2llava.pipeline.config.schema import SelectionConfig
from align2llava.pipeline.curation.selection.warnings import starved, unmatched_tokens


def lines(numbers: dict[str, int], **selection: object) -> list[str]:
    return list(starved(numbers, SelectionConfig.model_validate(selection)))


def test_stratum_that_rounds_to_nothing_is_named_with_its_stage():
    (line,) = lines({"a": 1, "b": 2, "c": 100}, question_keep=Decimal("0.3"), answer=False)
    assert "question stage: 1 of 3: a (1 x 0.3);" in line


def test_what_the_question_stage_leaves_may_be_too_little_for_the_answer_stage():
    (line,) = lines({"a": 3}, question_keep=Decimal("0.3"))
    assert "answer stage: 1 of 1: a (1 x 0.3);" in line


def test_many_small_strata_are_one_line():
    (line,) = lines({f"t{number:02}": 1 for number in range(20)})
    assert "question stage: 20 of 20: t00 (1 x 0.3), t01 (1 x 0.3)" in line
    assert "t04 (1 x 0.3) and 15 more;" in line


@pytest.mark.parametrize(
    "selection",
    [
        {"question": False, "answer": False},
        {"question_keep": 0, "answer_keep": 0},
        {"question_keep": {"a": 0, "b": 1}, "answer_keep": 1},
    ],
)
def test_stratum_that_is_meant_to_keep_nothing_is_not_named(selection: dict[str, object]):
    assert lines({"a": 1, "b": 1}, **selection) == []
    assert lines({}) == []


def test_faulty_records_have_no_tokens_to_tell_of():
    table = {
        "position": [0, 1, 2],
        "code": [None, "image_missing", None],
        "image_sha256": ["a", None, None],
        "num_image_tokens": [1, 7, 0],
    }
    schema = {
        "position": pl.Int64,
        "code": pl.String,
        "image_sha256": pl.String,
        "num_image_tokens": pl.Int32,
    }
    assert list(unmatched_tokens(pl.LazyFrame(table, schema))) == []
