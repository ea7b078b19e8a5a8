"""The config of a reward training: one YAML, `--set` over it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticSerializationError

from align2llava.clients.wire.decoding import MAX_IMAGE_BYTES, MAX_PIXELS
from align2llava.clients.wire.kinds import RewardKind
from align2llava.pipeline.config.loader import read_config
from align2llava.pipeline.errors import ConfigError
from align2llava.services.reward_model.card import Purpose
from align2llava.services.reward_model.tokens.pixels import ImageMode

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PreferenceData(_Section):
    """A file of preferences in its released schema, and where its images lie."""

    path: Path
    images_root: Path


class ModelConfig(_Section):
    """What is trained, and how the result is called and stored."""

    base: Path  # a LLaVA folder: weights, config, tokenizer, image processor
    name: str
    image_mode: ImageMode = ImageMode.PAD
    max_length: Positive = 2048
    max_chars: Positive = 32_768
    store_dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    purpose: Purpose = ""  # what its card will say it is for; "" writes no card


class OptimiserConfig(_Section):
    """AdamW with a warmed-up cosine; one step sees `groups_per_step` groups of candidates.

    The vision tower is never trained, the language model and the head always.
    """

    steps: Positive
    groups_per_step: Positive = 16
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-5
    warmup: Share = 0.03
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    train_projector: bool = True
    cross_image: Share = 0.0  # weight of a pair of two images; 0 = the paper's loss


class TrainingRun(_Section):
    """Where a training works, how often it snapshots and evaluates, and on what."""

    work: Path  # snapshots and metrics.jsonl
    out: Path  # the finished checkpoint
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] = 0
    snapshot_every: Positive = 100  # steps
    evaluate_every: Positive = 100  # steps
    cached_images: Positive = 4096
    max_pixels: Positive = MAX_PIXELS  # of an image; as A2L_MAX_PIXELS of the service
    max_image_bytes: Positive = MAX_IMAGE_BYTES  # as A2L_MAX_IMAGE_BYTES
    device: str = "cpu"
    num_threads: Positive = 1


class RewardTrainingConfig(_Section):
    """The whole; every path absolute after loading."""

    train: PreferenceData
    test: PreferenceData
    model: ModelConfig
    optimiser: OptimiserConfig
    run: TrainingRun


def load_training_config(path: Path, *, sets: Sequence[str] = ()) -> RewardTrainingConfig:
    """Returns the checked config of a YAML file with `--set a.b=v` over it.

    Raises:
        ConfigError: the file is missing, no YAML, or does not fit the schema.
    """
    config = read_config(path, RewardTrainingConfig, sets=sets)
    try:
        config.model_dump_json()  # as the fingerprint and the checkpoint will have it
    except PydanticSerializationError as error:
        raise ConfigError(f"{path}: a text holds a lone surrogate, half a character") from error
    return config


def fingerprint(config: RewardTrainingConfig, kind: RewardKind, files: list[Path]) -> str:
    """Returns hex blake2b-128 of what decides the weights: settings and the files' bytes.

    Where the training works and writes, how often it snapshots, what it refuses and what the card says
    decide nothing.
    """
    facts = config.model_dump_json(
        exclude={
            "run": {
                "work",
                "out",
                "snapshot_every",
                "evaluate_every",
                "cached_images",
                "max_pixels",
                "max_image_bytes",
            },
            "train": True,
            "test": True,
            "model": {"base", "purpose"},
        }
    )
    digest = hashlib.blake2b(f"{kind}\0{facts}".encode(), digest_size=16)
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
