from pathlib import Path

import orjson
import pytest

from align2llava.pipeline.curation.figures.spend import score_totals
from align2llava.pipeline.curation.layout import RewardStage, RunPaths
from align2llava.pipeline.curation.run.finished import (
    open_run,
    quarantine_lines,
    require_unchanged_inputs,
    rewrite_ledger,
    run_events,
)
from align2llava.pipeline.errors import InputError, RunError
from tests.pipeline.curation.run_fixture import SEED, RunFixture, make_run


def test_run_is_read_with_its_config_seed_and_decisions(finished_run: RunFixture):
    run = open_run(finished_run.run)
    assert run.seed == SEED
    assert run.decisions["position"].to_list() == list(range(len(finished_run.rows)))
    assert sum(row["input"] for row in run.manifest["counts"].values()) == len(finished_run.rows)


def test_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="is no run directory"):
        open_run(tmp_path)


def test_run_without_a_manifest_is_not_finished(own_run: RunFixture):
    RunPaths(own_run.run).manifest.unlink()
    with pytest.raises(RunError, match="not a finished run"):
        open_run(own_run.run)


def test_inputs_that_changed_are_refused(tmp_path: Path):
    fixture = make_run(tmp_path, num_records=60)
    run = open_run(fixture.run)
    require_unchanged_inputs(run)
    fixture.raw.write_bytes(fixture.raw.read_bytes() + b"\n")
    with pytest.raises(InputError, match="changed since the run"):
        require_unchanged_inputs(run)


def test_score_totals_add_up_every_stored_row(finished_run: RunFixture):
    question, answer = score_totals(RunPaths(finished_run.run))
    scored = [row for row in finished_run.rows if row["question_reward"] is not None]
    assert question.stage is RewardStage.QUESTION
    assert question.num_rewards == len(scored)
    assert question.num_tokens == 40 * len(scored)
    assert question.num_truncated == 1
    assert question.device_s == pytest.approx(0.0025 * len(scored))
    assert answer.num_truncated == 0


def test_stages_that_never_ran_have_no_totals_and_no_ledger(tmp_path: Path):
    assert score_totals(RunPaths(tmp_path)) == []
    assert rewrite_ledger(RunPaths(tmp_path)) is None
    assert list(quarantine_lines(RunPaths(tmp_path))) == []
    assert list(run_events(RunPaths(tmp_path))) == []


def test_event_cut_short_by_a_kill_is_left_out(tmp_path: Path):
    RunPaths(tmp_path).events.write_bytes(orjson.dumps({"event": "a"}) + b'\n{"event": "b')
    assert list(run_events(RunPaths(tmp_path))) == [{"event": "a"}]
