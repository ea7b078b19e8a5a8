import json
from collections.abc import Callable
from pathlib import Path

import pytest

from align2llava.pipeline.curation.layout import MANIFEST_VERSION, RunPaths
from align2llava.pipeline.curation.run.manifest import input_entries, models_of, read_manifest
from align2llava.pipeline.errors import RunError

IDENTITY = {
    "name": "fake",
    "kind": "question-reward",
    "identity": "a",
    "weights_sha256": "0",
    "dtype": "float32",
}


def written(folder: Path, change: Callable[[dict], object] = lambda _: None) -> RunPaths:
    manifest = {
        "version": MANIFEST_VERSION,
        "seed": 0,
        "inputs": [{"path": "raw.json", "sha256": "0", "num_records": 2}],
        "counts": {"detail": {"input": 2, "kept": 1, "dropped": 1, "quarantined": 0}},
        "identities": {"question_reward": dict(IDENTITY)},
        "files": {},
    }
    change(manifest)
    paths = RunPaths(folder)
    paths.manifest.write_text(json.dumps(manifest))
    return paths


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda it: it.update(inputs=[]), "its sums do not hold", id="sums"),
        pytest.param(
            lambda it: it["identities"]["question_reward"].pop("kind"), "kind", id="identity"
        ),
        pytest.param(lambda it: it.update(version=0), "has version 0", id="version"),
        pytest.param(lambda it: it.pop("seed"), "seed", id="no seed"),
    ],
)
def test_manifest_that_does_not_hold_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict], object], words: str
):
    with pytest.raises(RunError, match=words) as caught:
        read_manifest(written(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_manifest_of_another_number_of_files_than_the_config_is_refused(tmp_path: Path):
    paths = written(tmp_path)
    manifest = read_manifest(paths)
    assert models_of(manifest)["question_reward"].kind == "question-reward"
    assert len(input_entries(paths, manifest, num_files=1)) == 1
    with pytest.raises(RunError, match="has 1 input files; the config has 2"):
        input_entries(paths, manifest, num_files=2)
