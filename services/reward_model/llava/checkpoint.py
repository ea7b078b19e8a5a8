"""A reward model's folder, read and identified. Knows no transport and no training.

FOLDER/ config.json              transformers' LlavaConfig, loadable by vLLM (`convert="classify"`)
        model.safetensors        legacy llava-hf names and `language_model.score.weight`; or the shards
                                 that model.safetensors.index.json names
        tokenizer.json           and tokenizer_config.json
        preprocessor_config.json processor_config.json
        reward.json              what transformers has no place for: `RewardFile`
        card.json                what the model is for; optional
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from tokenizers import Tokenizer
from torch import nn
from transformers import LlavaConfig

from align2llava.clients.wire.kinds import RewardKind
from align2llava.services.reward_model.folder import CheckpointError, faults_named, read_json
from align2llava.services.reward_model.llava.model import (
    LlavaRewardModel,
    image_geometry,
    special_ids,
)
from align2llava.services.reward_model.tokens.inputs import PROMPT_VERSION, RowEncoder, TextLimits
from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings
from align2llava.services.reward_model.weight_files import is_quantised, weight_files
from align2llava.services.reward_model.weights import (
    legacy_name,
    read_weights,
    sha256_of,
)

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
TOKENIZER_FILE = "tokenizer.json"
Colour = tuple[float, float, float]


class RewardFile(BaseModel):
    """`reward.json`: the settings recorded with the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: RewardKind
    image_mode: ImageMode | Literal["native"]  # native: any shape, for families that take it
    max_length: Annotated[int, Field(gt=0)]  # tokens, image tokens included
    max_chars: Annotated[int, Field(gt=0)] = 32_768
    prompt_version: str = PROMPT_VERSION
    training: dict[str, JsonValue] = {}  # figures of the training; decides no number


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCheckpoint:
    """A loaded reward model with everything that turns texts and images into its inputs."""

    model: LlavaRewardModel
    encoder: RowEncoder
    pixels: PixelSettings
    file: RewardFile
    weights_sha256: str
    identity: str  # hex blake2b-128 of what decides the rewards


def read_reward_file(folder: Path) -> RewardFile:
    """Returns the checked `reward.json` of a folder."""
    raw = read_json(folder / "reward.json")
    try:
        file = RewardFile.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise CheckpointError(f"{folder / 'reward.json'}: {error}") from error
    if file.prompt_version != PROMPT_VERSION:
        raise CheckpointError(
            f"{folder / 'reward.json'}: prompt_version is {file.prompt_version!r}; "
            f"this program builds {PROMPT_VERSION!r}"
        )
    return file


def model_type(folder: Path) -> str:
    """Returns the family of a folder's model, as its `config.json` names it."""
    return str(read_json(folder / "config.json").get("model_type"))


def read_family_config(folder: Path, family: str) -> dict[str, JsonValue]:
    """Returns the `config.json` of a model of this family.

    Raises:
        CheckpointError: it is of another family, or its weights are quantised.
    """
    path = folder / "config.json"
    raw = read_json(path)
    if raw.get("model_type") != family:
        raise CheckpointError(
            f"{path}: model_type is {raw.get('model_type')!r}; {family!r} is read"
        )
    if is_quantised(raw):
        raise CheckpointError(
            f"{path}: it has a quantization_config; quantised weights are not read"
        )
    return raw


def read_config(folder: Path) -> LlavaConfig:
    """Returns the LLaVA configuration of a folder; runs no code of the folder.

    Raises:
        CheckpointError: it is another architecture, takes several vision layers, or is quantised.
    """
    raw = read_family_config(folder, "llava")
    with faults_named(folder / "config.json"):
        config = LlavaConfig.from_dict(raw)
        _ = special_ids(config), image_geometry(config)
    if not isinstance(config.vision_feature_layer, int):
        raise CheckpointError(f"{folder}: vision_feature_layer must be one number")
    return config


def read_tokenizer(folder: Path) -> Tokenizer:
    """Returns the tokenizer of a folder.

    Raises:
        CheckpointError: its file is missing, or none that the library reads.
    """
    path = folder / TOKENIZER_FILE
    read_json(path)
    with faults_named(path):
        return Tokenizer.from_file(str(path))


def read_encoder(folder: Path, config: LlavaConfig, limits: TextLimits) -> RowEncoder:
    """Returns the row encoder of a folder's tokenizer."""
    return RowEncoder(
        read_tokenizer(folder),
        special=special_ids(config),
        limits=limits,
        num_image_tokens=image_geometry(config)[1],
    )


def read_pixels(
    folder: Path, config: LlavaConfig, mode: ImageMode | Literal["native"]
) -> PixelSettings:
    """Returns the pixel settings; mean and deviation come from `preprocessor_config.json`."""
    if mode == "native":
        raise CheckpointError(f"{folder}: image_mode is 'native'; LLaVA takes 'square' or 'pad'")
    mean, std = read_normalisation(folder)
    return PixelSettings(mode=mode, size=image_geometry(config)[0], mean=mean, std=std)


def read_normalisation(folder: Path) -> tuple[Colour, Colour]:
    """Returns mean and deviation of each colour, from `preprocessor_config.json`."""
    raw = read_json(folder / "preprocessor_config.json")
    return _colour(folder, raw.get("image_mean")), _colour(folder, raw.get("image_std"))


def _colour(folder: Path, values: JsonValue) -> Colour:
    if not isinstance(values, list) or len(values) != 3:
        raise CheckpointError(f"{folder}: image_mean and image_std must have 3 numbers each")
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise CheckpointError(f"{folder}: image_mean and image_std must be finite numbers")
    red, green, blue = numbers
    return red, green, blue


def identity_of(
    file: RewardFile, *, folder: Path, weights_sha256: str, dtype: str, pixels: PixelSettings
) -> str:
    """Returns hex blake2b-128 of all that decides a LLaVA's rewards, and of nothing else."""
    image = (pixels.mode, pixels.size, pixels.mean, pixels.std)
    return identity_with(
        file, folder=folder, weights_sha256=weights_sha256, dtype=dtype, image=image
    )


def identity_with(
    file: RewardFile, *, folder: Path, weights_sha256: str, dtype: str, image: Sequence[object]
) -> str:
    """Returns the identity of a model of any family; `image` is what decides its pixels."""
    config = {
        key: value
        for key, value in read_json(folder / "config.json").items()
        if key not in {"transformers_version", "_name_or_path", "dtype", "torch_dtype"}
    }
    facts = {
        "kind": file.kind,
        "weights_sha256": weights_sha256,
        "dtype": dtype,
        "prompt_version": file.prompt_version,
        "max_length": file.max_length,
        "max_chars": file.max_chars,
        "image": image,
        "tokenizer_sha256": sha256_of([folder / TOKENIZER_FILE]),
        "config": config,
    }
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def load_weights(
    model: nn.Module,
    folder: Path,
    *,
    device: str,
    dtype: str,
    stored_name: Callable[[str], str] = legacy_name,
) -> None:
    """Gives a model the weights of a folder, on its device and in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or does not fit, or there is no such dtype.
    """
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype is {dtype!r}; one of {', '.join(DTYPES)} is read")
    state = read_weights(
        folder, model.state_dict(), device=device, dtype=DTYPES[dtype], stored_name=stored_name
    )
    # `assign` keeps the buffers (rotary frequencies) in float32 whatever the weights' dtype.
    model.load_state_dict(state, strict=True, assign=True)
    model.to(device).eval().requires_grad_(requires_grad=False)


def read_reward(folder: Path, *, device: str, dtype: str) -> RewardCheckpoint:
    """Returns the reward model of a folder, in evaluation mode.

    Raises:
        CheckpointError: the folder does not fit the layout.
    """
    file = read_reward_file(folder)
    config = read_config(folder)
    model = LlavaRewardModel(config)
    load_weights(model, folder, device=device, dtype=dtype)
    pixels = read_pixels(folder, config, file.image_mode)
    weights_sha256 = sha256_of(weight_files(folder))
    limits = TextLimits(max_length=file.max_length, max_chars=file.max_chars)
    return RewardCheckpoint(
        model=model,
        encoder=read_encoder(folder, config, limits),
        pixels=pixels,
        file=file,
        weights_sha256=weights_sha256,
        identity=identity_of(
            file, folder=folder, weights_sha256=weights_sha256, dtype=dtype, pixels=pixels
        ),
    )
