from pathlib import Path

import pytest

from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.results.export import export_baseline, export_dataset
from align2llava.pipeline.curation.selection.baselines import Baseline
from align2llava.pipeline.errors import ConfigError
from tests.pipeline.curation.run_fixture import RunFixture


def files_of(run: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in sorted(run.rglob("*")) if one.is_file()}


def test_export_to_a_folder_leaves_the_run_as_it_is_and_may_be_repeated(
    own_run: RunFixture, tmp_path: Path
):
    before = files_of(own_run.run)
    out = tmp_path / "new" / "curated"
    first = export_dataset(own_run.run, with_rewrites=True, out=out)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "train.json"]
    assert first.path == out / "train.json"
    export_dataset(own_run.run, with_rewrites=False, out=out)  # its own file is replaced
    assert "rewrite: off" in (out / "README.md").read_text()
    assert files_of(own_run.run) == before
    assert first.num_records == len(own_run.of_decision("kept"))


def test_export_to_a_file_writes_what_dataset_holds(own_run: RunFixture, tmp_path: Path):
    inside = export_dataset(own_run.run, with_rewrites=True).path.read_bytes()
    out = tmp_path / "mine.json"
    assert export_dataset(own_run.run, with_rewrites=True, out=out).path == out
    assert out.read_bytes() == inside


def test_file_is_written_once_since_nothing_tells_whose_it_is(own_run: RunFixture, tmp_path: Path):
    export_dataset(own_run.run, with_rewrites=True, out=tmp_path / "mine.json")
    with pytest.raises(ConfigError, match=r"no card beside it tells .* or name a folder"):
        export_dataset(own_run.run, with_rewrites=True, out=tmp_path / "mine.json")


def test_nothing_of_others_is_overwritten(own_run: RunFixture, tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("train.json", "README.md"):
        (folder / name).write_text("mine")
        with pytest.raises(ConfigError, match=f"{name} exists and is not what an export wrote"):
            export_dataset(own_run.run, with_rewrites=True, out=folder)
        assert (folder / name).read_text() == "mine"
        (folder / name).unlink()
    (folder / "train.json").symlink_to(own_run.raw)
    with pytest.raises(ConfigError, match="exists and is not what an export wrote"):
        export_dataset(own_run.run, with_rewrites=True, out=folder)
    with pytest.raises(ConfigError, match="exists"):
        export_dataset(own_run.run, with_rewrites=True, out=own_run.raw)


def test_export_that_was_edited_since_is_kept(own_run: RunFixture, tmp_path: Path):
    written = export_dataset(own_run.run, with_rewrites=True, out=tmp_path / "out").path
    written.write_bytes(written.read_bytes() + b"\n")
    with pytest.raises(ConfigError, match="remove it"):
        export_dataset(own_run.run, with_rewrites=True, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("out.jsonl", "the dataset is json"),
        ("run/dataset", "lies inside of"),
        ("run", "lies inside of"),
        ("run/../file/under", "is no folder"),
    ],
)
def test_place_that_cannot_be_is_refused_with_its_reason(own_run: RunFixture, out: str, told: str):
    (own_run.run.parent / "file").touch()
    with pytest.raises(ConfigError, match=told):
        export_dataset(own_run.run, with_rewrites=True, out=own_run.run.parent / out)
    assert RunPaths(own_run.run).manifest.exists()


def test_baseline_goes_to_a_folder_or_a_file(own_run: RunFixture, tmp_path: Path):
    found = export_baseline(own_run.run, Baseline.RANDOM, out=tmp_path / "sets")
    assert found.path == tmp_path / "sets" / "random.json"
    again = export_baseline(own_run.run, Baseline.RANDOM, out=tmp_path / "other.json")
    assert again.path.read_bytes() == found.path.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        export_baseline(own_run.run, Baseline.RANDOM, out=tmp_path / "sets")
