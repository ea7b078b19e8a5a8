"""A run directory with a link in it is neither read nor written."""

import os
from pathlib import Path

import pytest

from align2llava.pipeline.curation.disk.folder import require_own_files
from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.report.write import write_report
from align2llava.pipeline.curation.results.export import export_dataset
from align2llava.pipeline.curation.run.lease import held
from align2llava.pipeline.errors import RunError
from tests.pipeline.curation.run_fixture import RunFixture
from tests.pipeline.curation.small_world import records, run, write_world


def led_away(folder: Path, name: str, elsewhere: Path) -> Path:
    """Moves a part of a run elsewhere and leaves a link."""
    place = folder / name
    target = elsewhere / place.name
    elsewhere.mkdir(exist_ok=True)
    place.rename(target)
    place.symlink_to(target)
    return target


@pytest.mark.parametrize("name", ["dataset", "rewrites", "scores/question", "manifest.json"])
def test_a_link_out_of_a_run_is_not_followed(own_run: RunFixture, tmp_path: Path, name: str):
    target = led_away(own_run.run, name, tmp_path / "elsewhere")
    before = sorted(path.name for path in target.parent.rglob("*"))
    for use in (lambda one: export_dataset(one, with_rewrites=False), write_report):
        with pytest.raises(RunError, match=f"{name} is a link"):
            use(own_run.run)
    with pytest.raises(RunError, match=f"{name} is a link"), held(RunPaths(own_run.run)):
        pass
    assert sorted(path.name for path in target.parent.rglob("*")) == before
    assert not RunPaths(own_run.run).lease.exists()


def test_a_pipe_is_no_file_of_a_run(tmp_path: Path):
    (tmp_path / "scores").mkdir()
    os.mkfifo(tmp_path / "scores" / "part-1.parquet")
    with pytest.raises(RunError, match=r"part-1\.parquet is no plain file"):
        require_own_files(tmp_path)


def test_the_directory_itself_may_be_a_link(own_run: RunFixture, tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(own_run.run)
    require_own_files(link)
    require_own_files(tmp_path / "nowhere")


def test_a_report_tells_of_a_score_that_was_changed(tmp_path: Path):
    run(write_world(tmp_path, records(12)), tmp_path / "run")
    part = next((tmp_path / "run").glob("scores/question/part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(RunError, match="is not as the run wrote it"):
        write_report(tmp_path / "run")
