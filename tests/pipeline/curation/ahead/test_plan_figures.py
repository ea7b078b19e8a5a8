from collections.abc import Mapping, Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align2llava.pipeline.curation.ahead.plan_figures import (
    COSTS,
    FLAGS,
    PlanStage,
    StageEstimate,
    StratumPlan,
    estimates,
    share_of_image,
)

Rows = Sequence[Mapping[str, float]]
BATCH = dict.fromkeys(PlanStage, 10)


def sampled(rows: Rows) -> pl.DataFrame:
    """Rows say what matters to a test; all flags are true and all costs 0 otherwise."""
    filled = [{**dict.fromkeys(FLAGS, True), **dict.fromkeys(COSTS, 0.0), **row} for row in rows]
    schema = {**dict.fromkeys(FLAGS, pl.Boolean), **dict.fromkeys(COSTS, pl.Float64)}
    return pl.DataFrame(filled, schema=schema)


def stratum(num_records: int, *, question: float | None = 0.3, answer: float | None = 0.3):
    return StratumPlan(num_records=num_records, question_keep=question, answer_keep=answer)


def estimated(
    rows: Sequence[Rows], strata: list[StratumPlan], *, seed: int = 0
) -> dict[PlanStage, StageEstimate]:
    tables = [sampled(one) for one in rows]
    found = estimates(tables, strata, batch_items=BATCH, seed=seed)
    return {one.stage: one for one in found}


def test_equal_costs_leave_no_doubt():
    rows = [{"question_items": 1.0, "question_tokens": 40.0} for _ in range(20)]
    question = estimated([rows], [stratum(1000)])[PlanStage.QUESTION]
    assert (question.items.value, question.items.low, question.items.high) == (1000, 1000, 1000)
    assert question.tokens.value == 40_000
    assert question.calls.value == 100
    assert question.items.sample == 20


def test_later_stages_follow_the_keeps_not_the_samples_rounding():
    rows = [
        {
            "question_passed": at < 2,  # 0.25 of 8 would be 2; the keep is 0.2
            "answer_scored": at < 2,
            "kept": at < 1,
            "answer_items": 3.0 if at < 2 else 0.0,
            "rewrite_items": 5.0 if at < 1 else 0.0,
        }
        for at in range(8)
    ]
    found = estimated([rows], [stratum(1000, question=0.2, answer=0.5)])
    assert found[PlanStage.ANSWER].records.value == pytest.approx(200)
    assert found[PlanStage.ANSWER].items.value == pytest.approx(600)
    assert found[PlanStage.REWRITE].records.value == pytest.approx(100)
    assert found[PlanStage.REWRITE].items.value == pytest.approx(500)


def test_stage_that_is_off_lets_all_through():
    rows = [{"question_items": 0.0, "answer_items": 2.0, "rewrite_items": 2.0} for _ in range(10)]
    found = estimated([rows], [stratum(100, question=None, answer=None)])
    assert found[PlanStage.ANSWER].items.value == 200
    assert found[PlanStage.REWRITE].items.value == 200


def test_records_that_cannot_be_used_are_not_asked_for():
    broken: dict[str, float] = dict.fromkeys(FLAGS, False)
    rows = [broken if at % 4 == 0 else {"question_items": 1.0} for at in range(40)]
    question = estimated([rows], [stratum(1000)])[PlanStage.QUESTION]
    assert question.items.value == pytest.approx(750)
    assert question.items.low < 750 < question.items.high


def test_strata_count_by_their_share_of_the_input_not_of_the_sample():
    rows = [[{"question_tokens": 10.0}] * 5, [{"question_tokens": 100.0}] * 5]
    found = estimated(rows, [stratum(990), stratum(10)])
    assert found[PlanStage.QUESTION].tokens.value == pytest.approx(990 * 10 + 10 * 100)


def test_stratum_of_which_none_survived_costs_what_the_others_do():
    survivors = [{"answer_items": 4.0}] * 4
    fallen = [{"question_passed": False, "answer_scored": False, "kept": False}]
    found = estimated([survivors, fallen], [stratum(100), stratum(10)])
    assert found[PlanStage.ANSWER].items.value == pytest.approx(0.3 * 110 * 4)


def test_strata_that_share_one_quota_keep_what_they_kept_in_the_sample():
    rows = [{"question_passed": at < 5} for at in range(10)]
    alone = StratumPlan(num_records=100, question_keep=0.3, answer_keep=0.3, is_alone=False)
    assert estimated([rows], [alone])[PlanStage.ANSWER].records.value == pytest.approx(50)


def test_text_only_records_that_are_kept_are_only_rewritten():
    rows = [
        {
            **dict.fromkeys(
                ("usable", "question_scored", "question_passed", "answer_scored"), False
            ),
            "rewrite_items": 1.0,
        }
    ] * 3
    found = estimated([rows], [stratum(50)])
    assert found[PlanStage.QUESTION].records.value == 0
    assert found[PlanStage.REWRITE].items.value == 50


def test_sample_of_everything_leaves_no_doubt():
    rows = [{"question_tokens": float(at)} for at in range(30)]
    tokens = estimated([rows], [stratum(30)])[PlanStage.QUESTION].tokens
    assert tokens.value == tokens.low == tokens.high == sum(range(30))


def test_larger_sample_is_surer_and_the_same_seed_says_the_same():
    widths = []
    for size in (20, 320):
        rows = [{"question_tokens": float(at % 10)} for at in range(size)]
        tokens = estimated([rows], [stratum(100_000)])[PlanStage.QUESTION].tokens
        assert tokens.low < tokens.value < tokens.high
        assert tokens == estimated([rows], [stratum(100_000)])[PlanStage.QUESTION].tokens
        widths.append(tokens.high - tokens.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)  # the root of 16


@given(st.integers(1, 50), st.floats(0.01, 1))
def test_shares_of_an_image_add_up_to_how_often_it_is_sent(num_of_image: int, keep: float):
    expected_senders = num_of_image * keep
    sent = expected_senders * share_of_image(num_of_image, keep)
    assert sent == pytest.approx(1 - (1 - keep) ** num_of_image)


def test_image_of_a_stage_that_keeps_nothing_is_not_sent():
    assert share_of_image(5, 0.0) == 0.0
