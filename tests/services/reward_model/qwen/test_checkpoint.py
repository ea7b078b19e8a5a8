import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from align2llava.services.reward_model.families import load_model
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.qwen.checkpoint import read_config, read_qwen, stored_name
from align2llava.services.reward_model.qwen.model import (
    PatchGeometry,
    QwenRewardModel,
    patch_geometry,
    text_config,
)
from tests.services.reward_model.tiny_qwen import PATCHES, write_tiny_qwen


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.set_num_threads(1)
    return write_tiny_qwen(tmp_path_factory.mktemp("models") / "written")


@pytest.fixture
def folder(written, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(written, tmp_path / "qwen")


def identity(folder, dtype="float32") -> str:
    return load_model(folder, device="cpu", dtype=dtype).identity


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_part(path, part: str, **changes):
    edit(path, **{part: json.loads(path.read_text())[part] | changes})


def test_the_family_is_chosen_by_the_configuration(written):
    loaded = load_model(written, device="cpu", dtype="float32")
    assert isinstance(loaded.model, QwenRewardModel)
    assert (loaded.file.name, loaded.file.image_mode) == ("tiny-qwen", "native")


def test_a_family_that_nobody_reads_is_refused(folder):
    edit(folder / "config.json", model_type="mllama")
    with pytest.raises(CheckpointError, match="'mllama'; 'llava' and 'qwen2_5_vl' are read"):
        load_model(folder, device="cpu", dtype="float32")


def test_weights_and_settings_come_back_as_written(written, tmp_path):
    first = read_qwen(written, device="cpu", dtype="float32")
    again = read_qwen(write_tiny_qwen(tmp_path / "again"), device="cpu", dtype="float32")
    assert first.identity == again.identity
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
    assert not first.model.training


def test_transformers_loads_the_folders_weights_as_they_are(written):
    theirs = Qwen2_5_VLModel.from_pretrained(written, dtype=torch.float32)
    ours = read_qwen(written, device="cpu", dtype="float32").model.qwen.state_dict()
    assert theirs.state_dict().keys() == ours.keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours[name], tensor)


def test_rotary_frequencies_stay_float32_under_bfloat16_weights(written):
    model = read_qwen(written, device="cpu", dtype="bfloat16").model
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    buffers = {buffer.dtype for buffer in model.buffers() if buffer.is_floating_point()}
    assert buffers == {torch.float32}


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        pytest.param("reward.json", {"max_length": 47}, id="max length"),
        pytest.param("reward.json", {"max_chars": 47}, id="max chars"),
        pytest.param("reward.json", {"kind": "question-reward"}, id="kind"),
        pytest.param("preprocessor_config.json", {"min_pixels": 64}, id="min pixels"),
        pytest.param("preprocessor_config.json", {"max_pixels": 2560}, id="max pixels"),
        pytest.param("preprocessor_config.json", {"image_mean": [0.5, 0.5, 0.5]}, id="mean"),
        pytest.param("preprocessor_config.json", {"image_std": [0.5, 0.5, 0.5]}, id="deviation"),
        pytest.param("tokenizer.json", {"decoder": None}, id="tokenizer"),
        pytest.param("config.json", {"video_token_id": 7}, id="configuration"),
    ],
)
def test_identity_changes_with_everything_that_decides_rewards(folder, file, changes):
    before = identity(folder)
    edit(folder / file, **changes)
    assert identity(folder) != before


def test_identity_changes_with_dtype_and_weights(folder):
    before = identity(folder)
    assert identity(folder, "bfloat16") != before
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert identity(folder) != before


def test_identity_depends_neither_on_place_nor_name_nor_training_figures(folder, tmp_path):
    before = identity(folder)
    edit(folder / "reward.json", name="other", training={"steps": 3})
    edit(folder / "config.json", transformers_version="9.9")
    assert identity(shutil.copytree(folder, tmp_path / "moved")) == before


@pytest.mark.parametrize(
    ("file", "changes", "found"),
    [
        pytest.param("reward.json", {"image_mode": "pad"}, "takes 'native'", id="image mode"),
        pytest.param("preprocessor_config.json", {"min_pixels": None}, "min_pixels", id="no limit"),
        pytest.param("preprocessor_config.json", {"max_pixels": 9}, "in order", id="order"),
        pytest.param("preprocessor_config.json", {"image_std": [1]}, "3 numbers", id="deviation"),
        pytest.param("config.json", {"image_token_id": 7}, "no special token", id="image id"),
        pytest.param("config.json", {"image_token_id": 9999}, "token 9999", id="unknown id"),
        pytest.param("config.json", {"model_type": "qwen2_vl"}, "'qwen2_5_vl' is read", id="model"),
        pytest.param(
            "config.json",
            {"quantization_config": {"quant_method": "fp8"}},
            "quantised weights are not read",
            id="quantised",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_with_the_reason(folder, file, changes, found):
    edit(folder / file, **changes)
    with pytest.raises(CheckpointError, match=found):
        read_qwen(folder, device="cpu", dtype="float32")


ROPE = {"rope_theta": 100.0}


@pytest.mark.parametrize(
    ("part", "changes", "found"),
    [
        pytest.param(
            "text_config",
            {"use_sliding_window": True, "sliding_window": 8, "layer_types": None}
            | {"max_window_layers": 0},
            "sliding-window",
            id="sliding window",
        ),
        pytest.param(
            "text_config",
            {"rope_parameters": ROPE | {"rope_type": "default", "mrope_section": [2, 2, 2]}},
            "half the head size 8",
            id="sections",
        ),
        pytest.param(
            "text_config",
            {
                "rope_parameters": ROPE
                | {"rope_type": "dynamic", "factor": 2.0, "mrope_section": [1, 1, 2]}
            },
            "depends on the longest row",
            id="shifting frequencies",
        ),
        pytest.param("vision_config", {"patch_size": 0}, "must be positive", id="patch"),
        pytest.param("vision_config", {"patch_size": [1]}, "config.json cannot be used", id="two"),
        pytest.param("vision_config", {"in_channels": 1}, "in_channels is 1", id="colours"),
        pytest.param("vision_config", {"out_hidden_size": 16}, "language model's is 32", id="size"),
    ],
)
def test_an_architecture_that_is_not_scored_exactly_is_refused(folder, part, changes, found):
    edit_part(folder / "config.json", part, **changes)
    with pytest.raises(CheckpointError, match=found):
        read_config(folder)


def test_a_mark_that_a_text_could_spell_is_refused(folder):
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    for token in raw["added_tokens"]:
        token["special"] = token["special"] and "image_pad" not in token["content"]
    path.write_text(json.dumps(raw))
    assert Tokenizer.from_file(str(path)).encode("<|image_pad|>").tokens == ["<|image_pad|>"]
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: token \d+ is no special token"):
        read_qwen(folder, device="cpu", dtype="float32")


@pytest.mark.parametrize(
    "name",
    [
        "reward.json",
        "config.json",
        "tokenizer.json",
        "preprocessor_config.json",
        "model.safetensors",
    ],
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name.removeprefix("model")):
        read_qwen(folder, device="cpu", dtype="float32")


def test_a_parameter_of_another_model_has_no_place():
    assert stored_name("qwen.language_model.norm.weight") == "model.norm.weight"
    with pytest.raises(CheckpointError, match=r"lm_head\.weight has no place"):
        stored_name("lm_head.weight")


def test_pixel_limits_are_those_of_the_folder(written):
    raw = json.loads((written / "preprocessor_config.json").read_text())
    assert (raw["min_pixels"], raw["max_pixels"]) == (PATCHES.min_pixels, PATCHES.max_pixels)


def test_a_configuration_as_it_was_released_is_read(folder):
    released = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_token_id": 151654,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "hidden_act": "silu",
        "hidden_size": 3584,
        "initializer_range": 0.02,
        "intermediate_size": 18944,
        "max_position_embeddings": 128000,
        "max_window_layers": 28,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 32,
            "hidden_act": "silu",
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "in_chans": 3,
            "out_hidden_size": 3584,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vocab_size": 152064,
    }
    (folder / "config.json").write_text(json.dumps(released))
    config = read_config(folder)
    assert text_config(config).num_hidden_layers == 28
    assert patch_geometry(config) == PatchGeometry(patch=14, merge=2, frames=2)
