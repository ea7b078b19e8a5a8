import hashlib
from pathlib import Path

import pytest

from services.engines.fingerprint import CheckpointHashes, identity_of


def checkpoint(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, content in {"model.safetensors": b"w", "config.json": b"{}", **files}.items():
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
    assert hashes.weights_sha256 == hashlib.sha256(b"w").hexdigest()


def test_every_shard_enters_the_hash_of_the_weights(tmp_path: Path):
    first = checkpoint(tmp_path / "a", **{"other.safetensors": b"x"})
    second = checkpoint(tmp_path / "b", **{"other.safetensors": b"y"})
    assert CheckpointHashes.of(first) == CheckpointHashes.of(first)
    assert CheckpointHashes.of(first).weights_sha256 != CheckpointHashes.of(second).weights_sha256


@pytest.mark.parametrize(
    "file",
    ["model.safetensors", "config.json", "chat_template.jinja", "tokenizer.json"],
)
def test_a_file_that_decides_the_numbers_changes_the_identity(tmp_path: Path, file: str):
    before = checkpoint(tmp_path / "a", **{file: b"1"})
    after = checkpoint(tmp_path / "b", **{file: b"2"})
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
    with pytest.raises(ValueError, match=r"no \*\.safetensors"):
        CheckpointHashes.of(tmp_path)
