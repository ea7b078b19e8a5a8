"""No child imports from the current folder, whatever lies there."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from align2llava.pipeline.curation.input.row_reader import ReadingRules
from align2llava.pipeline.process.children import child_environ, foreign_environ, module_command
from tests.pipeline.curation.small_world import record, write_world

HOSTILE = (
    "align2llava",
    "pipeline",
    "clients",
    "services",
    "click",
    "orjson",
    "polars",
    "json",
    "sitecustomize",
)


def hostile(folder: Path) -> Path:
    folder.mkdir()
    words = f"open({str(folder / 'was_run')!r}, 'a').write(__name__)\nraise SystemExit(9)\n"
    for name in HOSTILE:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(words)
    return folder


@pytest.mark.parametrize("paths", ["", ":", ".", "::nowhere"])
def test_child_leaves_the_current_folder_alone(tmp_path: Path, paths: str):
    folder = hostile(tmp_path / "project")
    environ = child_environ({**os.environ, "PYTHONPATH": paths})
    rules = ReadingRules(".", (), max_text_chars=1, max_image_bytes=1, max_pixels=1)
    command = module_command("align2llava.pipeline.curation.input.row_workers", json.dumps(rules))
    done = subprocess.run(command, cwd=folder, env=environ, input=b"", check=False)
    assert done.returncode == 0
    assert not (folder / "was_run").exists()


def test_whole_paths_stay():
    paths = f"/a{os.pathsep}{os.pathsep}b{os.pathsep}/c"
    assert child_environ({"PYTHONPATH": paths, "A": "1"}) == {
        "PYTHONPATH": f"/a{os.pathsep}/c",
        "PYTHONSAFEPATH": "1",
        "A": "1",
    }


@pytest.mark.slow  # an input that workers read
@pytest.mark.timeout(120)
def test_large_input_in_a_hostile_folder_is_read(tmp_path: Path):
    folder = hostile(tmp_path / "project")
    config = write_world(tmp_path, [])
    data = [{**record(number), "note": "x" * 900} for number in range(18_000)]
    (tmp_path / "raw.json").write_text(json.dumps(data))
    assert (tmp_path / "raw.json").stat().st_size > 2**24
    command = module_command(
        "typer", "align2llava.pipeline.cli.app", "run", "validate", str(config)
    )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "18000 of 18000 records can be scored" in done.stdout, done.stderr
    assert not (folder / "was_run").exists()


def test_no_child_is_told_what_only_the_driver_is_told():
    told = {"A2L__API_KEY": "secret", "A2L__RUN__SEED": "1", "A2L_ENGINE": "fake"}
    assert foreign_environ(told) == {"A2L_ENGINE": "fake"}
    assert child_environ(told) == {"A2L_ENGINE": "fake", "PYTHONSAFEPATH": "1"}
