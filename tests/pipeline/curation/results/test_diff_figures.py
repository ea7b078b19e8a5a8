from pathlib import Path

import polars as pl
import pytest

from align2llava.pipeline.config.schema import Config, load_config
from align2llava.pipeline.curation.layout import InputEntry, RewardStage, TypeCounts
from align2llava.pipeline.curation.results.diff_figures import (
    ABSENT,
    config_changes,
    identity_changes,
    input_changes,
    kept_diff,
    matched,
    record_diffs,
    reward_diffs,
    turns_diff,
    type_diffs,
)
from tests.pipeline.curation.small_world import write_world
from tests.pipeline.curation.tables import decisions_table


def table(reasons: list[str], *, uids: list[str] | None = None, **columns: list) -> pl.DataFrame:
    rows: list[dict] = [{"reason": reason} for reason in reasons]
    for index, row in enumerate(rows):
        if uids is not None:
            row["uid"] = uids[index]
        row |= {name: values[index] for name, values in columns.items()}
    return decisions_table(rows)


def loaded(folder: Path, sets: tuple[str, ...] = ()) -> Config:
    return load_config(write_world(folder, []), sets=sets)


def turns(rows: list[tuple[str, int, str, str]]) -> pl.DataFrame:
    """uid, turn, status, answer as it goes out; the original is `old`."""
    return pl.DataFrame(
        [
            {
                "uid": uid,
                "turn": turn,
                "status": status,
                "question": "why?",
                "answer": answer,
                "original_question": "why?",
                "original_answer": "old",
            }
            for uid, turn, status, answer in rows
        ],
        schema={
            "uid": pl.String,
            "turn": pl.Int32,
            "status": pl.String,
            "question": pl.String,
            "answer": pl.String,
            "original_question": pl.String,
            "original_answer": pl.String,
        },
    )


def test_config_keys_that_differ_are_named_with_both_values(tmp_path: Path):
    a = loaded(tmp_path)
    b = loaded(tmp_path, ("selection.question_keep=0.2", "alignment.review=off"))
    changes = {one.name: (one.a, one.b) for one in config_changes(a, b)}
    assert changes == {
        "selection.question_keep": ("0.3", "0.2"),
        "alignment.review": ("on", "off"),
    }


def test_equal_numbers_written_otherwise_are_no_change(tmp_path: Path):
    b = loaded(tmp_path, ("selection.question_keep=0.30",))
    assert config_changes(loaded(tmp_path), b) == []


def test_keep_map_is_told_by_stratum(tmp_path: Path):
    maps = ["{a: 0.1, b: 0.2}", "{a: 0.1, b: 0.3}"]
    a, b = (loaded(tmp_path, (f"selection.answer_keep={one}",)) for one in maps)
    (change,) = config_changes(a, b)
    assert (change.name, change.a, change.b) == ("selection.answer_keep.b", "0.2", "0.3")


def test_identity_of_one_run_only_is_a_change():
    a = {"question_reward": {"identity": "x"}, "inner_llm": {"identity": "z"}}
    b = {"question_reward": {"identity": "y"}}
    assert [(one.name, one.a, one.b) for one in identity_changes(a, b)] == [
        ("question_reward", "x", "y"),
        ("inner_llm", "z", None),
    ]


def test_inputs_are_told_apart_by_content_not_by_path():
    def entry(path: str, sha256: str, num_records: int) -> InputEntry:
        return InputEntry(path=path, sha256=sha256, num_records=num_records)

    assert input_changes([entry("a.json", "1", 5)], [entry("b.json", "1", 5)]) == []
    (read_less,) = input_changes([entry("a.json", "1", 5)], [entry("a.json", "1", 3)])
    assert (read_less.num_records_a, read_less.num_records_b) == (5, 3)
    other = input_changes([entry("a.json", "1", 5)], [entry("a.json", "2", 5)])
    assert {(one.num_records_a, one.num_records_b) for one in other} == {(5, 0), (0, 5)}


def test_type_of_one_run_only_counts_nothing_in_the_other():
    counts = TypeCounts(input=2, kept=1, dropped=1, quarantined=0)
    (one,) = type_diffs({}, {"detail": counts})
    assert one.a["input"] == 0
    assert one.b == counts


def test_kept_sets_are_compared_by_uid_whatever_the_order():
    a = table(["kept", "kept", "below_question_cut"], uids=["aa", "bb", "cc"])
    b = table(["below_answer_cut", "kept", "kept"], uids=["cc", "bb", "dd"])
    kept = kept_diff(matched(a, b))
    assert (kept.num_a, kept.num_b, kept.num_both) == (2, 2, 1)
    assert kept.jaccard == pytest.approx(1 / 3)
    assert kept.only_a == {ABSENT: 1}
    assert kept.only_b == {ABSENT: 1}
    assert kept.num_other_reason == 1


def test_equal_records_are_matched_one_to_one():
    a = table(["kept", "below_question_cut", "below_question_cut"], uids=["aa", "aa", "aa"])
    b = table(["kept", "kept"], uids=["aa", "aa"])
    records = matched(a, b)
    assert records.height == 3
    kept = kept_diff(records)
    assert (kept.num_both, kept.only_a, kept.only_b) == (1, {}, {"below_question_cut": 1})


def test_records_that_cannot_be_parsed_match_nothing():
    a = table(["invalid_json", "kept"], uids=[None, "aa"])  # type: ignore[list-item]
    records = matched(a, a)
    assert records.height == 3
    assert kept_diff(records).num_other_reason == 0


def test_jaccard_of_two_empty_selections_is_not_a_number():
    a = table(["below_question_cut"])
    assert kept_diff(matched(a, a)).jaccard is None


def test_examples_are_the_best_ranked_of_those_kept_by_one_alone():
    ranks = [3, 1, 2]
    cuts = [3, 3, 3]
    a = table(["kept"] * 3, answer_rank=ranks, answer_cut=cuts, answer_reward=[0.1, 0.3, 0.2])
    b = table(["below_answer_cut"] * 3, answer_rank=ranks, answer_cut=[0] * 3)
    found = record_diffs(matched(a, b), num_examples=2)
    assert [one.a.answer_rank for one in found if one.a] == [1, 2]
    assert {one.kept_by for one in found} == {"a"}
    assert found[0].b is not None
    assert (found[0].b.reason, found[0].b.answer_cut) == ("below_answer_cut", 0)


def test_reward_differences_count_only_what_both_scored():
    a = table(["kept"] * 3, question_reward=[1.0, 2.0, None])
    b = table(["kept"] * 3, question_reward=[1.0, 1.5, 9.0])
    overall, of_type = reward_diffs(matched(a, b))
    assert overall.type is None
    assert of_type.type == "conversation"
    assert (overall.stage, overall.num_both, overall.num_different) == (RewardStage.QUESTION, 2, 1)
    assert overall.largest == pytest.approx(0.5)
    assert overall.mean == pytest.approx(-0.25)
    assert overall.spearman == pytest.approx(1.0)


def test_correlation_of_one_record_is_not_a_number():
    a = table(["kept"], answer_reward=[1.0])
    assert reward_diffs(matched(a, a))[0].spearman is None


def test_turn_that_goes_out_otherwise_is_told_with_both_texts():
    records = table(["kept"] * 2, uids=["aa", "bb"])
    a = turns([("aa", 0, "rewritten", "new"), ("aa", 1, "rewritten", "same")])
    b = turns([("aa", 0, "original", "old"), ("aa", 1, "rewritten", "same")])
    found = turns_diff(a, b, records=matched(records, records), num_examples=5)
    assert (found.num_turns, found.num_different) == (2, 1)
    assert found.statuses == {"rewritten -> original": 1}
    (example,) = found.examples
    assert (example.answer_a, example.answer_b) == ("new", "old")


def test_turn_that_one_ledger_lacks_is_the_original_there():
    records = table(["kept"] * 2, uids=["aa", "bb"])
    a = turns([("aa", 0, "rewritten", "new"), ("bb", 0, "gated", "old")])
    found = turns_diff(a, turns([]), records=matched(records, records), num_examples=5)
    assert found.statuses == {"rewritten -> none": 1}
    assert found.examples[0].answer_b == "old"
    back = turns_diff(turns([]), a, records=matched(records, records), num_examples=5)
    assert back.examples[0].answer_a == "old"


def test_turns_of_records_that_one_run_dropped_do_not_count():
    both = matched(table(["kept"], uids=["aa"]), table(["below_answer_cut"], uids=["aa"]))
    found = turns_diff(
        turns([("aa", 0, "rewritten", "new")]), turns([]), records=both, num_examples=5
    )
    assert found.num_turns == 0
