"""Writes model folders in the layout that `checkpoint.py` and vLLM read."""

import json
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer
from transformers import LlavaConfig

from align2llava.clients.wire.texts import IMAGE_TOKEN
from align2llava.services.reward_model.llava.checkpoint import DTYPES, TOKENIZER_FILE, RewardFile
from align2llava.services.reward_model.llava.model import (
    LlavaBackbone,
    LlavaRewardModel,
    special_ids,
    text_config,
    vision_config,
)
from align2llava.services.reward_model.tokens.pixels import PixelSettings
from align2llava.services.reward_model.weight_files import WEIGHTS_FILE
from align2llava.services.reward_model.weights import write_weights

UNK_ID, EOS_ID = 0, 2  # as in Llama's tokenizer
_CLASSIFIER = {
    "id2label": {"0": "reward"},
    "label2id": {"reward": 0},
    "problem_type": "regression",
    "num_labels": 1,
}


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Writes a JSON object, in ASCII, indented."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")


def config_json(config: LlavaConfig, *, architecture: str, classifier: bool) -> dict[str, object]:
    """Returns `config.json` so that transformers and vLLM read the same model.

    The regression keys stand at top level and in `text_config`: vLLM would otherwise apply a
    sigmoid, or expect two labels.
    """
    raw: dict[str, object] = config.to_dict()
    text: dict[str, object] = text_config(config).to_dict()
    if classifier:
        text |= _CLASSIFIER
        raw |= {**_CLASSIFIER, "use_sep_token": False}
    raw |= {"architectures": [architecture], "text_config": text}
    raw.pop("transformers_version", None)
    return raw


def write_inputs(
    folder: Path, *, config: LlavaConfig, tokenizer: Tokenizer, pixels: PixelSettings
) -> None:
    """Writes the tokenizer and the image processor of a model folder."""
    tokenizer.save(str(folder / TOKENIZER_FILE))
    special = special_ids(config)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokenizer.id_to_token(special.bos),
            "eos_token": tokenizer.id_to_token(EOS_ID),
            "pad_token": tokenizer.id_to_token(special.pad),
            "unk_token": tokenizer.id_to_token(UNK_ID),
            "image_token": IMAGE_TOKEN,
            "model_max_length": text_config(config).max_position_embeddings,
        },
    )
    write_json(folder / "preprocessor_config.json", _preprocessor_json(pixels))
    write_json(
        folder / "processor_config.json",
        {
            "processor_class": "LlavaProcessor",
            "image_token": IMAGE_TOKEN,
            "patch_size": vision_config(config).patch_size,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": config.vision_feature_select_strategy,
        },
    )


def _preprocessor_json(pixels: PixelSettings) -> dict[str, object]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": pixels.size},
        "resample": 3,  # bicubic
        "do_center_crop": True,
        "crop_size": {"height": pixels.size, "width": pixels.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(pixels.mean),
        "image_std": list(pixels.std),
        "do_convert_rgb": True,
    }


def write_language_model(
    folder: Path, model: LlavaBackbone, *, tokenizer: Tokenizer, pixels: PixelSettings, dtype: str
) -> None:
    """Writes a LLaVA with its language-model head; weights are stored as `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS_FILE, model.state_dict(), dtype=DTYPES[dtype])
    raw = config_json(model.config, architecture="LlavaForConditionalGeneration", classifier=False)
    write_json(folder / "config.json", raw | {"dtype": dtype})
    write_inputs(folder, config=model.config, tokenizer=tokenizer, pixels=pixels)


def write_reward(
    folder: Path,
    model: LlavaRewardModel,
    *,
    file: RewardFile,
    tokenizer: Tokenizer,
    pixels: PixelSettings,
    dtype: str,
) -> None:
    """Writes a reward model's folder; weights are stored as `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS_FILE, model.state_dict(), dtype=DTYPES[dtype])
    raw = config_json(model.config, architecture="LlavaForSequenceClassification", classifier=True)
    write_json(folder / "config.json", raw | {"dtype": dtype})
    write_inputs(folder, config=model.config, tokenizer=tokenizer, pixels=pixels)
    (folder / "reward.json").write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")
