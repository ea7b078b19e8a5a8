import json
import shutil

import pytest
import torch

from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import read_reward, read_reward_file


def identity(folder, dtype="float32") -> str:
    return read_reward(folder, device="cpu", dtype=dtype).identity


def edit(path, **changes):
    raw = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(raw))


def test_weights_and_settings_come_back_as_written(tiny_folder, tiny_model):
    loaded = read_reward(tiny_folder, device="cpu", dtype="float32")
    assert loaded.file.kind == "answer-reward"
    assert (loaded.pixels.mode, loaded.pixels.size) == ("pad", 16)
    assert (loaded.encoder.limits.max_length, loaded.encoder.special.pad) == (48, 3)
    for name, tensor in tiny_model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)


def test_rotary_frequencies_stay_float32_under_bfloat16_weights(tiny_folder):
    model = read_reward(tiny_folder, device="cpu", dtype="bfloat16").model
    assert model.compute_dtype == torch.bfloat16
    buffers = {buffer.dtype for buffer in model.buffers() if buffer.is_floating_point()}
    assert buffers == {torch.float32}


def test_the_config_keeps_vllm_from_a_sigmoid_and_from_two_labels(tiny_folder):
    raw = json.loads((tiny_folder / "config.json").read_text())
    assert raw["architectures"] == ["LlavaForSequenceClassification"]
    assert raw["use_sep_token"] is False
    for part in (raw, raw["text_config"]):
        assert part["problem_type"] == "regression"
        assert len(part["id2label"]) == 1


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        pytest.param("reward.json", {"image_mode": "square"}, id="image mode"),
        pytest.param("reward.json", {"max_length": 47}, id="max length"),
        pytest.param("reward.json", {"kind": "question-reward"}, id="kind"),
        pytest.param("preprocessor_config.json", {"image_mean": [0.5, 0.5, 0.5]}, id="mean"),
        pytest.param("tokenizer.json", {"decoder": None}, id="tokenizer"),
    ],
)
def test_identity_changes_with_everything_that_decides_rewards(tiny_folder, file, changes):
    before = identity(tiny_folder)
    edit(tiny_folder / file, **changes)
    assert identity(tiny_folder) != before


def test_identity_changes_with_dtype_and_weights(tiny_folder):
    before = identity(tiny_folder)
    assert identity(tiny_folder, "bfloat16") != before
    path = tiny_folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert identity(tiny_folder) != before


def test_identity_depends_neither_on_place_nor_name_nor_training_figures(tiny_folder, tmp_path):
    before = identity(tiny_folder)
    edit(tiny_folder / "reward.json", name="other", training={"steps": 3})
    edit(tiny_folder / "config.json", transformers_version="9.9")
    moved = shutil.copytree(tiny_folder, tmp_path / "moved")
    assert identity(moved) == before


@pytest.mark.parametrize(
    ("file", "changes", "found"),
    [
        pytest.param("config.json", {"model_type": "qwen2_vl"}, "'llava' is read", id="model"),
        pytest.param("config.json", {"vision_feature_layer": [-2, -1]}, "one number", id="layers"),
        pytest.param(
            "config.json", {"vision_config": {"model_type": "llama"}}, "not CLIP", id="tower"
        ),
        pytest.param(
            "config.json", {"image_token_index": "a"}, "expected int, got str", id="image token"
        ),
        pytest.param(
            "config.json",
            {"vision_config": {"model_type": "clip_vision_model", "patch_size": 0}},
            "patch_size 0",
            id="patch",
        ),
        pytest.param("reward.json", {"kind": "judge"}, "kind", id="kind"),
        pytest.param("reward.json", {"colour": 1}, "colour", id="unknown key"),
        pytest.param("reward.json", {"prompt_version": "0"}, "prompt_version", id="prompt"),
        pytest.param("preprocessor_config.json", {"image_std": [1]}, "3 numbers", id="std"),
        pytest.param("preprocessor_config.json", {"image_mean": [0, "a", 0]}, "finite", id="mean"),
        pytest.param(
            "config.json",
            {"quantization_config": {"quant_method": "fp8"}},
            "quantised weights are not read",
            id="quantised",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_with_the_reason(tiny_folder, file, changes, found):
    edit(tiny_folder / file, **changes)
    with pytest.raises(CheckpointError, match=found):
        read_reward(tiny_folder, device="cpu", dtype="float32")


@pytest.mark.parametrize(
    "name", ["reward.json", "config.json", "tokenizer.json", "model.safetensors"]
)
def test_a_missing_file_is_named(tiny_folder, name):
    (tiny_folder / name).unlink()
    with pytest.raises(CheckpointError, match=name.removeprefix("model")):
        read_reward(tiny_folder, device="cpu", dtype="float32")


def test_an_unknown_dtype_is_refused(tiny_folder):
    with pytest.raises(CheckpointError, match="float32, bfloat16, float16"):
        read_reward(tiny_folder, device="cpu", dtype="int8")


def test_reward_json_that_is_no_json_is_refused(tiny_folder):
    (tiny_folder / "reward.json").write_text("{")
    with pytest.raises(CheckpointError, match="no JSON"):
        read_reward_file(tiny_folder)
