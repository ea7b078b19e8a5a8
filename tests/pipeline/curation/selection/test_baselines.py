import random
from collections import Counter

import polars as pl
import pytest

from align2llava.pipeline.curation.selection.baselines import (
    Baseline,
    baseline_positions,
    is_drawable,
)
from align2llava.pipeline.curation.uids import with_numbers
from tests.pipeline.curation.tables import decisions_table

SEED = 3


def run_table(num: int = 400, *, order: int | None = None) -> pl.DataFrame:
    """Two types; long records rank better, so that kept ones are longer than the rest."""
    rng = random.Random(0)
    rows = []
    for index in range(num):
        kind = "detail" if index % 4 == 0 else "conversation"
        words = rng.randint(5, 200)
        rows.append({"type": kind, "words": words})
    for kind in ("detail", "conversation"):
        members = sorted(
            (row for row in rows if row["type"] == kind), key=lambda row: -row["words"]
        )
        for rank, row in enumerate(members, start=1):
            is_kept = rank <= len(members) // 10 + 3
            row["reason"] = "kept" if is_kept else "below_question_cut"
            row |= {"question_reward": -rank, "question_rank": rank, "question_cut": len(members)}
    words = [row.pop("words") for row in rows]
    table = decisions_table(rows).with_columns(
        question_words=pl.lit(2, dtype=pl.Int64),
        answer_words=pl.Series(words, dtype=pl.Int64),
        num_turns=pl.lit(1, dtype=pl.Int64),
    )
    table = with_numbers(table)
    return table if order is None else table.sample(fraction=1, shuffle=True, seed=order)


def chosen(table: pl.DataFrame, name: Baseline, *, seed: int = SEED) -> pl.DataFrame:
    return table.filter(pl.col("position").is_in(baseline_positions(table, name, seed=seed)))


def kept(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("decision") == "kept")


@pytest.mark.parametrize("name", list(Baseline))
def test_baseline_has_as_many_records_of_each_type_as_were_kept(name: Baseline):
    table = run_table()
    assert Counter(chosen(table, name)["type"]) == Counter(kept(table)["type"])


@pytest.mark.parametrize("name", list(Baseline))
def test_same_seed_draws_the_same_records_whatever_the_row_order(name: Baseline):
    table = run_table()
    assert baseline_positions(table, name, seed=SEED) == baseline_positions(
        run_table(order=5), name, seed=SEED
    )


def test_another_seed_draws_other_records():
    table = run_table()
    first = baseline_positions(table, Baseline.RANDOM, seed=1)
    assert first != baseline_positions(table, Baseline.RANDOM, seed=2)


def mean_words(table: pl.DataFrame) -> float:
    mean = table["answer_words"].mean()
    assert isinstance(mean, float)
    return mean


def test_random_records_are_as_long_as_all_and_matched_ones_as_long_as_kept():
    table = run_table(2000)
    mean = {
        "all": mean_words(table),
        "kept": mean_words(kept(table)),
        "random": mean_words(chosen(table, Baseline.RANDOM)),
        "matched": mean_words(chosen(table, Baseline.LENGTH_MATCHED)),
    }
    assert mean["kept"] > 1.5 * mean["all"]
    assert mean["random"] == pytest.approx(mean["all"], rel=0.15)
    assert mean["matched"] == pytest.approx(mean["kept"], rel=0.02)


def test_longest_takes_the_most_words_of_each_type():
    table = run_table()
    taken = chosen(table, Baseline.LONGEST)
    left = table.filter(~pl.col("position").is_in(taken["position"].to_list()))
    for kind in ("detail", "conversation"):
        shortest_taken = taken.filter(pl.col("type") == kind)["answer_words"].min()
        longest_left = left.filter(pl.col("type") == kind)["answer_words"].max()
        assert isinstance(shortest_taken, int)
        assert isinstance(longest_left, int)
        assert longest_left <= shortest_taken


def test_bottom_takes_the_worst_ranks():
    table = run_table()
    taken = chosen(table, Baseline.BOTTOM).filter(pl.col("type") == "detail")
    num = taken.height
    ranks = sorted(table.filter(pl.col("type") == "detail")["question_rank"])
    assert sorted(taken["question_rank"]) == ranks[-num:]


@pytest.mark.parametrize("name", list(Baseline))
def test_records_that_could_not_be_kept_are_in_no_baseline(name: Baseline):
    table = run_table()
    out = pl.col("position").is_in([1, 2, 3])
    table = table.with_columns(
        decision=pl.when(out).then(pl.lit("quarantined")).otherwise("decision"),
        answer_words=pl.when(out).then(9999).otherwise("answer_words"),
    )
    assert not {1, 2, 3} & set(baseline_positions(table, name, seed=SEED))


def test_bottom_without_enough_ranks_is_refused():
    table = run_table().with_columns(question_rank=pl.lit(None, dtype=pl.Int64))
    assert not is_drawable(table, Baseline.BOTTOM)
    with pytest.raises(ValueError, match="fewer ranked records"):
        baseline_positions(table, Baseline.BOTTOM, seed=SEED)


def test_nothing_kept_draws_nothing():
    table = run_table().with_columns(
        decision=pl.lit("dropped"), reason=pl.lit("below_question_cut")
    )
    for name in Baseline:
        assert baseline_positions(table, name, seed=SEED) == []
