from collections import Counter

from align2llava.pipeline.curation.figures.examples import (
    MAX_TYPES,
    PER_BAND,
    Band,
    choose_examples,
)
from align2llava.pipeline.curation.layout import RewardStage
from tests.pipeline.curation.tables import decisions_table


def ranked(num: int, *, cut: int, kind: str = "detail") -> list[dict]:
    return [
        {"type": kind, "question_reward": -rank, "question_rank": rank, "question_cut": cut}
        for rank in range(1, num + 1)
    ]


def test_bands_are_the_ends_and_both_sides_of_the_cut():
    rows = choose_examples(decisions_table(ranked(20, cut=6)))
    ranks = {band: [row.rank for row in rows if row.band is band] for band in Band}
    assert ranks == {
        Band.TOP: [1, 2],
        Band.ABOVE: [5, 6],
        Band.BELOW: [7, 8],
        Band.BOTTOM: [19, 20],
    }
    assert {row.stage for row in rows} == {RewardStage.QUESTION}


def test_no_record_is_shown_twice():
    rows = choose_examples(decisions_table(ranked(5, cut=3)))
    assert sorted(row.rank for row in rows) == [1, 2, 3, 4, 5]


def test_examples_are_bounded_by_the_largest_types():
    table = decisions_table(
        [
            row
            for index in range(MAX_TYPES + 3)
            for row in ranked(20 + index, cut=6, kind=f"type {index}")
        ]
    )
    by_type = Counter(row.type for row in choose_examples(table))
    assert len(by_type) == MAX_TYPES
    assert "type 0" not in by_type
    assert set(by_type.values()) == {PER_BAND * len(Band)}


def test_run_without_rewards_has_no_examples():
    assert choose_examples(decisions_table([{"reason": "text_only"}])) == []
