import pytest

from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.results.explain import explain
from align2llava.pipeline.errors import RunError
from tests.pipeline.curation.run_fixture import RunFixture, make_run


def first(fixture: RunFixture, reason: str) -> dict:
    return next(row for row in fixture.rows if row["reason"] == reason)


def test_kept_record_is_told_with_both_ranks_rewards_and_rewrites(finished_run: RunFixture):
    row = first(finished_run, "kept")
    found = explain(finished_run.run, row["uid"])
    assert (found.position, found.id, found.type) == (row["position"], row["id"], row["type"])
    assert found.why.startswith("Kept: it passed every stage that is on.")
    assert [one.stage for one in found.standings] == list(RewardStage)
    assert all(one.is_passed for one in found.standings)
    assert len(found.rewrites) == len(found.turns)
    assert {one.stage for one in found.rewards} == set(RewardStage)
    assert found.fault is None


def test_standing_counts_the_scored_of_its_type(finished_run: RunFixture):
    row = first(finished_run, "below_question_cut")
    (standing,) = explain(finished_run.run, row["uid"]).standings
    scored = [
        one
        for one in finished_run.rows
        if one["type"] == row["type"] and one["question_reward"] is not None
    ]
    passed = [one for one in scored if one["question_rank"] <= one["question_cut"]]
    assert standing.num_scored == len(scored)
    assert standing.rank == row["question_rank"]
    assert standing.lowest_passed == pytest.approx(min(one["question_reward"] for one in passed))
    assert not standing.is_passed


def test_quarantined_record_is_told_with_code_message_and_raw_text(finished_run: RunFixture):
    row = first(finished_run, "invalid_record")
    found = explain(finished_run.run, str(row["position"]))
    assert found.fault is not None
    assert found.fault.code == "invalid_record"
    assert "0 turns" in found.why
    assert found.turns == ()
    assert found.raw is not None
    assert '"conversations":[]' in found.raw


def test_text_only_record_is_told_why(finished_run: RunFixture):
    found = explain(finished_run.run, first(finished_run, "text_only")["uid"])
    assert "no image" in found.why
    assert found.image is None
    assert found.rewards == ()


def test_start_of_a_uid_and_a_position_find_the_same_record(finished_run: RunFixture):
    row = next(one for one in finished_run.rows if not one["uid"][:8].isdigit())
    by_start = explain(finished_run.run, row["uid"][:8].upper())
    assert by_start == explain(finished_run.run, str(row["position"]))


@pytest.mark.parametrize(
    ("key", "told"),
    [("f" * 32, "0 records"), ("abc", "4 characters"), ("999999", "position 999999 of 0-")],
    ids=["no such uid", "too short", "no such position"],
)
def test_key_that_fits_no_record_is_refused(finished_run: RunFixture, key: str, told: str):
    with pytest.raises(RunError, match=told):
        explain(finished_run.run, key)


def test_start_that_fits_several_records_is_refused(tmp_path):
    fixture = make_run(tmp_path, num_records=60, uid_start="abcd")
    with pytest.raises(RunError, match="60 records"):
        explain(fixture.run, "abcd")
