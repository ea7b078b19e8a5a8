import polars as pl

from align2llava.pipeline.curation.figures.sets import compared_sets, set_figures
from tests.pipeline.curation.selection.test_baselines import run_table


def test_raw_and_kept_come_first_then_every_baseline():
    sets = compared_sets(run_table(), seed=0)
    assert list(sets) == ["raw", "kept", "random", "length-matched", "longest", "bottom"]


def test_baselines_have_the_size_and_type_mix_of_the_selection():
    raw, kept, *baselines = set_figures(compared_sets(run_table(), seed=0))
    assert raw.num_records == 400
    for one in baselines:
        assert (one.num_records, one.types) == (kept.num_records, kept.types)
    assert kept.num_also_kept == kept.num_records


def test_means_are_over_the_records_that_have_a_value():
    table = run_table().with_columns(
        answer_words=pl.when(pl.col("position") == 0).then(None).otherwise("answer_words")
    )
    raw = set_figures({"raw": table})[0]
    assert raw.mean_answer_words == table["answer_words"].mean()
    assert raw.mean_answer_reward is None


def test_baseline_that_cannot_be_drawn_is_left_out():
    table = run_table().with_columns(question_rank=pl.lit(None, dtype=pl.Int64))
    assert "bottom" not in compared_sets(table, seed=0)
