import polars as pl
import pytest

from align2llava.pipeline.curation.figures.decisions import (
    MEASURES,
    NUM_BINS,
    bin_counts,
    bin_edges,
    correlations,
    counts_by_type,
    kept_by_length,
    smallest_margin,
    stage_rewards,
)
from align2llava.pipeline.curation.layout import RewardStage
from tests.pipeline.curation.tables import decisions_table


def test_counts_of_each_type_add_up_to_its_input():
    table = decisions_table(
        [
            {"reason": "kept"},
            {"reason": "below_question_cut"},
            {"reason": "below_answer_cut"},
            {"reason": "text_only"},
            {"reason": "image_missing"},
            {"reason": "image_missing"},
            {"reason": "internal", "type": "detail"},
        ]
    )
    conversation, detail = counts_by_type(table)
    assert (conversation.type, conversation.input, conversation.kept) == ("conversation", 6, 1)
    assert conversation.quarantined == {"image_missing": 2}
    for row in (conversation, detail):
        parts = row.kept + row.below_question_cut + row.below_answer_cut + row.text_only
        assert row.input == parts + row.num_quarantined


def ranked(rewards: list[float], *, cut: int, kind: str = "conversation") -> list[dict]:
    return [
        {"type": kind, "question_reward": reward, "question_rank": rank, "question_cut": cut}
        for rank, reward in enumerate(rewards, start=1)
    ]


def test_margin_is_lowest_passed_minus_highest_failed():
    (rewards,) = stage_rewards(decisions_table(ranked([3.0, 2.0, 1.5, -1.0], cut=2)))
    assert rewards.stage is RewardStage.QUESTION
    assert (rewards.num_scored, rewards.num_passed) == (4, 2)
    assert (rewards.lowest_passed, rewards.highest_failed) == (2.0, 1.5)
    assert rewards.margin_at_cut == 0.5


@pytest.mark.parametrize("cut", [0, 4], ids=["none passed", "all passed"])
def test_cut_that_divides_nothing_has_no_margin(cut: int):
    (rewards,) = stage_rewards(decisions_table(ranked([3.0, 2.0, 1.5, -1.0], cut=cut)))
    assert rewards.margin_at_cut is None
    assert smallest_margin([rewards]) is None


def test_smallest_margin_is_the_closest_cut_of_any_stage_and_type():
    rows = ranked([3.0, 2.0], cut=1) + ranked([3.0, 2.9], cut=1, kind="detail")
    closest = smallest_margin(stage_rewards(decisions_table(rows)))
    assert closest is not None
    assert closest.type == "detail"


def test_every_record_is_in_one_bin_of_the_histogram():
    (rewards,) = stage_rewards(decisions_table(ranked([3.0, 2.0, 1.5, -1.0], cut=2)))
    assert len(rewards.edges) == NUM_BINS + 1
    assert (rewards.edges[0], rewards.edges[-1]) == (-1.0, 3.0)
    assert (sum(rewards.passed), sum(rewards.failed)) == (2, 2)
    assert rewards.passed[-1] == 1  # the best lies in the last bin, edge included


def test_equal_rewards_get_bins_of_some_width():
    values = pl.Series([2.0, 2.0])
    edges = bin_edges(values)
    assert edges[0] < 2.0 < edges[-1]
    assert sum(bin_counts(values, edges)) == 2


def test_type_without_rewards_has_no_histogram():
    assert stage_rewards(decisions_table([{"reason": "text_only"}])) == []


def with_lengths(rows: list[dict], words: list[int]) -> pl.DataFrame:
    lengths = pl.DataFrame(
        {"question_words": [3] * len(words), "answer_words": words, "num_turns": [1] * len(words)}
    )
    return decisions_table(rows).hstack(lengths)


def test_reward_that_grows_with_length_correlates_fully_by_rank():
    table = with_lengths(ranked([9.0, 3.0, 2.0, 1.0], cut=1), [80, 30, 20, 10])
    found = {row.measure: row for row in correlations(table)}
    assert found["answer_words"].spearman == pytest.approx(1.0)
    assert found["answer_words"].pearson == pytest.approx(0.98, abs=0.03)


def test_constant_length_has_no_correlation():
    table = with_lengths(ranked([9.0, 3.0, 2.0, 1.0], cut=1), [80, 30, 20, 10])
    found = {row.measure: row for row in correlations(table)}
    assert set(found) == set(MEASURES)
    assert found["question_words"].spearman is None
    assert found["num_turns"].pearson is None


def test_deciles_hold_every_record_that_could_be_kept_shortest_first():
    rows = [{"reason": "kept"}] * 3 + [{"reason": "below_question_cut"}] * 20
    rows += [{"reason": "text_only"}, {"reason": "image_missing"}]
    (found,) = kept_by_length(with_lengths(rows, list(range(25))))
    assert sum(decile.num_records for decile in found.deciles) == 23
    assert sum(decile.num_kept for decile in found.deciles) == 3
    assert [decile.num_kept for decile in found.deciles[:2]] == [2, 1]
    assert found.deciles[0].lowest_words == 0
    assert found.deciles[-1].highest_words == 22


def test_type_with_answers_of_one_length_has_no_deciles():
    assert kept_by_length(with_lengths([{"reason": "kept"}] * 3, [7, 7, 7])) == []
