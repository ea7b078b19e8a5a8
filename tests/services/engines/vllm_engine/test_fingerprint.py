import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from align2llava.services.engines.vllm_engine.fingerprint import CheckpointHashes, identity_of


def weights(**numbers: float) -> bytes:
    return save({name: np.array([number], np.float32) for name, number in numbers.items()})


def checkpoint(path: Path, **files: bytes) -> Path:
    path.mkdir()
    needed = {"model.safetensors": weights(a=1), "config.json": b"{}"}
    for name, content in {**needed, **files}.items():
        (path / name).write_bytes(content)
    return path


def identity(path: Path, **changes: str) -> str:
    named = {
        "name": "m",
        "dtype": "float32",
        "template_version": "1",
        "engine": "e",
        "purpose": "",
        **changes,
    }
    return identity_of(CheckpointHashes.of(path), **named).identity


def test_one_file_of_weights_is_hashed_as_it_is(tmp_path: Path):
    hashes = CheckpointHashes.of(checkpoint(tmp_path / "a"))
    assert hashes.weights_sha256 == hashlib.sha256(weights(a=1)).hexdigest()


def sharded(path: Path, *numbers: float) -> Path:
    shards = {
        f"{name}.safetensors": weights(**{name: n}) for name, n in zip("ab", numbers, strict=True)
    }
    index = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    shards["model.safetensors.index.json"] = json.dumps(index).encode()
    folder = checkpoint(path, **shards)
    (folder / "model.safetensors").unlink()
    return folder


def test_every_shard_enters_the_hash_of_the_weights_and_nothing_beside_them(tmp_path: Path):
    first, second = sharded(tmp_path / "a", 1, 2), sharded(tmp_path / "b", 1, 3)
    before = CheckpointHashes.of(first)
    (first / "consolidated.safetensors").write_bytes(weights(a=9))
    assert CheckpointHashes.of(first) == before
    assert CheckpointHashes.of(second).weights_sha256 != before.weights_sha256


def test_weights_that_vllm_would_read_beside_the_model_are_refused(tmp_path: Path):
    folder = checkpoint(tmp_path / "a", **{"old.safetensors": weights(a=0)})
    with pytest.raises(ValueError, match=r"old\.safetensors is no weight of the model"):
        CheckpointHashes.of(folder)


@pytest.mark.parametrize(
    "file",
    ["model.safetensors", "config.json", "chat_template.jinja", "tokenizer.json"],
)
def test_a_file_that_decides_the_numbers_changes_the_identity(tmp_path: Path, file: str):
    contents = [weights(a=2), weights(a=3)] if file.endswith("tensors") else [b"{}", b'{"a": 1}']
    before, after = (
        checkpoint(tmp_path / name, **{file: content})
        for name, content in zip("ab", contents, strict=True)
    )
    assert identity(before) != identity(after)


@pytest.mark.parametrize("change", ["dtype", "template_version"])
def test_dtype_and_prompts_change_the_identity(tmp_path: Path, change: str):
    path = checkpoint(tmp_path / "a")
    assert identity(path) != identity(path, **{change: "other"})


def test_place_name_and_engine_do_not_change_the_identity(tmp_path: Path):
    first = checkpoint(tmp_path / "a")
    second = checkpoint(tmp_path / "b", **{"README.md": b"hello"})
    assert identity(first) == identity(second, name="other", engine="other", purpose="other")
    assert len(identity(first)) == 32


def test_checkpoint_without_safetensors_is_refused(tmp_path: Path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin, which are not read"):
        CheckpointHashes.of(tmp_path)
