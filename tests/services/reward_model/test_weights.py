import hashlib

import pytest
import torch
from safetensors import safe_open

from services.reward_model.weights import (
    CheckpointError,
    legacy_name,
    read_weights,
    sha256_of,
    weight_files,
    write_weights,
)


@pytest.mark.parametrize(
    ("inside", "legacy"),
    [
        ("llava.vision_tower.encoder.x", "vision_tower.vision_model.encoder.x"),
        ("llava.vision_tower.vision_model.encoder.x", "vision_tower.vision_model.encoder.x"),
        ("llava.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.bias"),
        ("llava.language_model.norm.weight", "language_model.model.norm.weight"),
        ("score.weight", "language_model.score.weight"),
        ("lm_head.weight", "language_model.lm_head.weight"),
    ],
)
def test_names_on_disk_are_those_of_legacy_llava(inside, legacy):
    assert legacy_name(inside) == legacy


def test_a_parameter_outside_the_layout_is_refused():
    with pytest.raises(CheckpointError, match=r"adapter\.weight"):
        legacy_name("adapter.weight")


def test_weights_come_back_as_written_in_the_asked_dtype(tmp_path):
    score = torch.randn(1, 8)
    write_weights(tmp_path / "model.safetensors", {"score.weight": score}, dtype=torch.float32)
    read = read_weights(tmp_path, ["score.weight"], device="cpu", dtype=torch.float32)
    assert torch.equal(read["score.weight"], score)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert list(file.keys()) == ["language_model.score.weight"]


def test_a_missing_tensor_is_named(tmp_path):
    write_weights(tmp_path / "model.safetensors", {}, dtype=torch.float32)
    with pytest.raises(CheckpointError, match=r"lacks the tensor language_model\.score\.weight"):
        read_weights(tmp_path, ["score.weight"], device="cpu", dtype=torch.float32)


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors"):
        weight_files(tmp_path)


def test_the_hash_covers_all_files_in_name_order(tmp_path):
    (tmp_path / "b.safetensors").write_bytes(b"second")
    (tmp_path / "a.safetensors").write_bytes(b"first")
    assert sha256_of(weight_files(tmp_path)) == hashlib.sha256(b"firstsecond").hexdigest()
