import hashlib

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.weights import (
    legacy_name,
    read_weights,
    sha256_of,
    write_weights,
)

FLOAT8 = torch.float8_e4m3fn


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
    read = read_weights(tmp_path, {"score.weight": score}, device="cpu", dtype=torch.float32)
    assert torch.equal(read["score.weight"], score)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert list(file.keys()) == ["language_model.score.weight"]


def test_a_missing_tensor_is_named(tmp_path):
    score = torch.zeros(1, 8)
    write_weights(tmp_path / "model.safetensors", {}, dtype=torch.float32)
    with pytest.raises(CheckpointError, match=r"lacks the tensor language_model\.score\.weight"):
        read_weights(tmp_path, {"score.weight": score}, device="cpu", dtype=torch.float32)


def test_a_tensor_of_another_shape_is_named(tmp_path):
    write_weights(
        tmp_path / "model.safetensors", {"score.weight": torch.zeros(2, 8)}, dtype=torch.float32
    )
    with pytest.raises(CheckpointError, match=r"score\.weight has the shape \[2, 8\]; .* \[1, 8\]"):
        read_weights(
            tmp_path, {"score.weight": torch.zeros(1, 8)}, device="cpu", dtype=torch.float32
        )


def test_a_file_beside_the_weights_changes_no_weight(tmp_path):
    score = torch.randn(1, 8)
    write_weights(tmp_path / "model.safetensors", {"score.weight": score}, dtype=torch.float32)
    write_weights(tmp_path / "z.safetensors", {"score.weight": 0 * score}, dtype=torch.float32)
    read = read_weights(tmp_path, {"score.weight": score}, device="cpu", dtype=torch.float32)
    assert torch.equal(read["score.weight"], score)


def test_float8_is_refused_where_the_model_needs_it_and_left_alone_elsewhere(tmp_path):
    path, score = tmp_path / "model.safetensors", torch.ones(1, 8)
    stored = {"score.weight": score.to(FLOAT8)}
    save_file({"language_model.score.weight": score, "scale": score.to(FLOAT8)}, path)
    read_weights(tmp_path, {"score.weight": score}, device="cpu", dtype=torch.float32)
    save_file({f"language_model.{name}": tensor for name, tensor in stored.items()}, path)
    with pytest.raises(CheckpointError, match=r"score\.weight is stored as F8_E4M3"):
        read_weights(tmp_path, {"score.weight": score}, device="cpu", dtype=torch.float32)


def test_the_hash_covers_all_files_in_the_given_order(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for path, data in zip(files, (b"first", b"second"), strict=True):
        path.write_bytes(data)
    assert sha256_of(files) == hashlib.sha256(b"firstsecond").hexdigest()
