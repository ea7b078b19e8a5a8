from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.curation.deciding.reselect import align, select
from align2llava.pipeline.curation.deciding.summary import summary_text
from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.run.resume import Resume, load_run_config
from align2llava.pipeline.errors import ConfigError, InputError, RunError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.fake_clients import FakeConnector
from tests.pipeline.curation.small_world import records, run, write_world


def selected(run_dir: Path, question: str | None = None, answer: str | None = None):
    return select(
        run_dir,
        question_keep=None if question is None else Decimal(question),
        answer_keep=None if answer is None else Decimal(answer),
        progress=LineProgress(),
    )


def contents(run_dir: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in run_dir.rglob("*")
        if path.is_file() and path.name != "events.jsonl"
    }


@pytest.mark.parametrize(
    ("question", "answer"), [("0.3", "0.1"), ("0.2", None), ("0.1", "1"), ("0", "0.3")]
)
def test_select_is_what_curate_would_have_decided(
    tmp_path: Path, question: str, answer: str | None
):
    config = write_world(tmp_path, records(80))
    run(config, tmp_path / "run", sets=("alignment.rewrite=off",))
    selected(tmp_path / "run", question, answer)
    sets = [f"selection.question_keep={question}", "alignment.rewrite=off"]
    if answer is not None:
        sets.append(f"selection.answer_keep={answer}")
    run(config, tmp_path / "fresh", sets=sets)
    for name in ("dataset/train.json", "decisions.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_wider_cut_without_rewards_changes_nothing_and_says_the_command(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(80)), run_dir)
    before = contents(run_dir)
    with pytest.raises(RunError, match="17 records lack answer rewards") as caught:
        selected(run_dir, "0.5")
    assert f"--run-dir {run_dir} --resume always" in str(caught.value)
    assert "--set selection.question_keep=0.5" in str(caught.value)
    assert contents(run_dir) == before


def test_turns_without_a_verdict_go_out_as_originals_until_aligned(tmp_path: Path):
    config = write_world(tmp_path, records(80))
    run_dir = tmp_path / "run"
    run(config, run_dir)
    summary = selected(run_dir, None, "0.6")
    assert summary.num_turns_not_aligned > 0
    assert f"a2l align {run_dir} rewrites and reviews the" in summary_text(summary)
    rows = pq.read_table(run_dir / "rewrites").to_pylist()
    assert {row["status"] for row in rows} == {"rewritten", "not_aligned"}
    connector = FakeConnector()
    again = align(run_dir, connector=connector, api_key=None, progress=LineProgress())
    assert again.num_turns_not_aligned == 0
    assert "a2l align" not in summary_text(again)
    rewrites = [name for name in connector.calls.asked if not name.startswith("review")]
    assert len(rewrites) == summary.num_turns_not_aligned
    run(config, tmp_path / "fresh", sets=("selection.answer_keep=0.6",))
    fresh = (tmp_path / "fresh" / "dataset" / "train.json").read_bytes()
    assert (run_dir / "dataset" / "train.json").read_bytes() == fresh


def test_select_remembers_its_keeps(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(40)), run_dir)
    selected(run_dir, "0.25", "0.5")
    selection = load_run_config(RunPaths(run_dir)).selection
    assert (selection.question_keep, selection.answer_keep) == (Decimal("0.25"), Decimal("0.5"))


def test_curate_that_selects_otherwise_than_the_run_did_says_so(tmp_path: Path):
    config, run_dir = write_world(tmp_path, records(80)), tmp_path / "run"
    before = run(config, run_dir)
    assert before.warnings == run(config, run_dir, resume=Resume.ALWAYS).warnings
    selected(run_dir, None, "0.6")
    again = run(config, run_dir, resume=Resume.ALWAYS)
    assert "selection.answer_keep was 0.6 in this run and is 0.3 now" in again.warnings[0]
    assert again.num_kept == before.num_kept


def test_changed_input_is_refused(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(20)), run_dir)
    write_world(tmp_path, records(21))
    before = contents(run_dir)
    with pytest.raises(InputError, match="the run read"):
        selected(run_dir, "0.1")
    assert contents(run_dir) == before


def test_unfinished_run_is_refused(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(20)), run_dir)
    (run_dir / "manifest.json").unlink()
    with pytest.raises(RunError, match="not a finished run"):
        selected(run_dir, "0.1")
    with pytest.raises(RunError, match="not a finished run"):
        align(run_dir, connector=FakeConnector(), api_key=None, progress=LineProgress())


def test_align_of_a_run_without_rewrite_is_refused(tmp_path: Path):
    run_dir = tmp_path / "run"
    run(write_world(tmp_path, records(20)), run_dir, sets=("alignment.rewrite=off",))
    with pytest.raises(ConfigError, match="rewrite is off"):
        align(run_dir, connector=FakeConnector(), api_key=None, progress=LineProgress())
