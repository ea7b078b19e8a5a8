import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image

from align2llava.pipeline.curation.deciding.reselect import align, select
from align2llava.pipeline.curation.input.files import sha256_of
from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.report.write import write_report
from align2llava.pipeline.curation.results.explain import explain
from align2llava.pipeline.curation.results.export import export_dataset
from align2llava.pipeline.curation.run.manifest import read_manifest
from align2llava.pipeline.curation.run.moved import move_inputs
from align2llava.pipeline.curation.run.resume import Resume, load_run_config
from align2llava.pipeline.errors import ConfigError, InputError, RunError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.fake_clients import FakeConnector
from tests.pipeline.curation.small_world import CONFIG, records, run, write_world


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A finished run at `run`, and its data, which lies in the returned folder now."""
    run(write_world(tmp_path / "data", records(40)), tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "moved")
    return tmp_path / "moved"


def take(moved: Path) -> Path:
    run_dir = moved.parent / "run"
    move_inputs(run_dir, inputs=[moved / "raw.json"], images_root=moved / "images")
    return run_dir


def reselected(run_dir: Path):
    return select(run_dir, question_keep=None, answer_keep=Decimal("0.5"), progress=LineProgress())


def test_run_goes_on_with_a_config_of_the_new_place_and_asks_nothing_again(moved: Path):
    again = FakeConnector()
    run_dir = moved.parent / "run"
    before = (run_dir / "dataset" / "train.json").read_bytes()
    run(moved / "curate.yaml", run_dir, connector=again, resume=Resume.ALWAYS)
    assert not again.calls.asked
    assert (run_dir / "dataset" / "train.json").read_bytes() == before
    assert load_run_config(RunPaths(run_dir)).input.path == moved / "raw.json"
    assert reselected(run_dir).num_kept > 0


def test_killed_run_goes_on_at_the_new_place(moved: Path):
    run_dir = moved.parent / "run"
    (run_dir / "manifest.json").unlink()
    again = FakeConnector()
    run(moved / "curate.yaml", run_dir, connector=again, resume=Resume.IF_POSSIBLE)
    assert not again.calls.asked


@pytest.mark.parametrize("is_finished", [True, False])
def test_other_content_at_another_place_is_not_taken_for_the_run(moved: Path, is_finished: bool):
    run_dir = moved.parent / "run"
    if not is_finished:
        (run_dir / "manifest.json").unlink()
    (moved / "raw.json").write_text(json.dumps(records(41)))
    with pytest.raises(RunError, match="content is another too"):
        run(moved / "curate.yaml", run_dir, resume=Resume.ALWAYS)


def test_other_images_at_another_place_are_not_taken_for_the_run(moved: Path):
    run_dir = moved.parent / "run"
    Image.new("RGB", (8, 8), "white").save(moved / "images" / "3.png")
    with pytest.raises(RunError, match=r"another input\.images_root: \d+ of \d+ records"):
        run(moved / "curate.yaml", run_dir, resume=Resume.ALWAYS)
    with pytest.raises(RunError, match="not those that the run read"):
        take(moved)
    assert (run_dir / "manifest.json").is_file()


def test_every_verb_over_a_run_works_once_it_knows_the_new_place(moved: Path):
    run_dir = take(moved)
    before = (run_dir / "dataset" / "train.json").read_bytes()
    assert explain(run_dir, "3").turns
    assert export_dataset(run_dir, with_rewrites=True).num_records > 0
    assert (run_dir / "dataset" / "train.json").read_bytes() == before
    write_report(run_dir)
    assert reselected(run_dir).num_kept > 0
    align(run_dir, connector=FakeConnector(), api_key=None, progress=LineProgress())


def test_new_place_is_recorded_and_the_manifest_still_holds(moved: Path):
    run_dir = take(moved)
    paths = RunPaths(run_dir)
    assert load_run_config(paths).input.images_root == moved / "images"
    manifest = read_manifest(paths)
    assert [entry["path"] for entry in manifest["inputs"]] == [str(moved / "raw.json")]
    for name, sha256 in manifest["files"].items():
        assert sha256_of(run_dir / name) == sha256


@pytest.mark.parametrize("verb", ["select", "explain", "export", "report"])
def test_verb_without_the_data_says_how_to_give_its_new_place(moved: Path, verb: str):
    run_dir = moved.parent / "run"
    calls = {
        "select": lambda: reselected(run_dir),
        "explain": lambda: explain(run_dir, "3"),
        "export": lambda: export_dataset(run_dir, with_rewrites=True),
        "report": lambda: write_report(run_dir),
    }
    with pytest.raises(InputError, match="if it moved, say where it is now: --input PATH"):
        calls[verb]()


def test_file_of_another_content_is_refused_with_both_hashes(moved: Path):
    read = sha256_of(moved / "raw.json")
    (moved / "raw.json").write_text("[]")
    with pytest.raises(InputError, match=f"is not what the run read: .* the run read {read}"):
        take(moved)


def test_images_may_be_left_behind_where_no_image_is_needed(moved: Path):
    run_dir = moved.parent / "run"
    shutil.rmtree(moved / "images")
    move_inputs(run_dir, inputs=[moved / "raw.json"], images_root=None)
    assert export_dataset(run_dir, with_rewrites=True).num_records > 0
    before = (run_dir / "dataset" / "train.json").read_bytes()
    with pytest.raises(RunError, match=r"the images of \d+ records .* --images-root DIR"):
        reselected(run_dir)
    assert (run_dir / "dataset" / "train.json").read_bytes() == before


def test_files_of_a_list_keep_their_types_and_order(tmp_path: Path):
    config = CONFIG.replace("raw.json", "[raw.json, {path: more.json, type: detail}]")
    path = write_world(tmp_path, records(20), config=config)
    (tmp_path / "more.json").write_text(json.dumps(records(10)))
    run(path, tmp_path / "run")
    (tmp_path / "new").mkdir()
    news = [tmp_path / "new" / name for name in ("raw.json", "more.json")]
    for new in news:
        (tmp_path / new.name).rename(new)
    with pytest.raises(ConfigError, match="1 files are given; the run read 2"):
        move_inputs(tmp_path / "run", inputs=news[:1], images_root=None)
    with pytest.raises(InputError, match="is not what the run read"):
        move_inputs(tmp_path / "run", inputs=news[::-1], images_root=None)
    move_inputs(tmp_path / "run", inputs=news, images_root=None)
    files = load_run_config(RunPaths(tmp_path / "run")).input.files()
    assert [(file.path, file.type) for file in files] == [(news[0], "auto"), (news[1], "detail")]


def test_unfinished_run_is_left_as_it_is(tmp_path: Path):
    with pytest.raises(RunError, match="not a finished run"):
        move_inputs(tmp_path / "run", inputs=[tmp_path / "raw.json"], images_root=None)
    assert not (tmp_path / "run").exists()
