"""A Qwen2.5-VL reward model's folder, read, identified and written. Knows no transport, no training.

FOLDER/ config.json              transformers' Qwen2_5_VLConfig
        model.safetensors        names of the released checkpoints (`visual.*`, `model.*`), `score.weight`
        tokenizer.json           with the three vision marks as special tokens
        preprocessor_config.json min_pixels, max_pixels, image_mean and image_std are read
        reward.json              `RewardFile`, with `image_mode` native
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from tokenizers import Tokenizer
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

from align2llava.services.reward_model.folder import CheckpointError, faults_named, read_json
from align2llava.services.reward_model.llava.checkpoint import (
    DTYPES,
    TOKENIZER_FILE,
    RewardFile,
    identity_with,
    load_weights,
    read_family_config,
    read_normalisation,
    read_reward_file,
    read_tokenizer,
)
from align2llava.services.reward_model.llava.export import write_json
from align2llava.services.reward_model.qwen.inputs import PatchSettings, QwenInputs, VisionIds
from align2llava.services.reward_model.qwen.model import (
    COLOURS,
    QwenRewardModel,
    patch_geometry,
    text_config,
    vision_config,
)
from align2llava.services.reward_model.tokens.inputs import TextLimits
from align2llava.services.reward_model.weight_files import WEIGHTS_FILE, weight_files
from align2llava.services.reward_model.weights import sha256_of, write_weights

MODEL_TYPE = "qwen2_5_vl"
_STORED_PREFIXES = (
    ("qwen.visual.", "visual."),
    ("qwen.language_model.", "model."),
    ("score.", "score."),
)
# Frequencies that change with the longest row would make a reward depend on its batch mates.
_SHIFTING_ROPE = ("dynamic", "longrope")


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenCheckpoint:
    """A loaded reward model with what turns texts and images into its inputs."""

    model: QwenRewardModel
    inputs: QwenInputs
    file: RewardFile
    weights_sha256: str
    identity: str  # hex blake2b-128 of what decides the rewards


def stored_name(name: str) -> str:
    """Returns the name on disk of a parameter of our module tree."""
    for inside, stored in _STORED_PREFIXES:
        if name.startswith(inside):
            return stored + name.removeprefix(inside)
    raise CheckpointError(f"parameter {name} has no place in the checkpoint layout")


def read_config(folder: Path) -> Qwen2_5_VLConfig:
    """Returns the configuration of a folder; runs no code of the folder.

    Raises:
        CheckpointError: it is another architecture, or one that trees do not score exactly.
    """
    raw = read_family_config(folder, MODEL_TYPE)
    with faults_named(folder / "config.json"):
        config = Qwen2_5_VLConfig.from_dict(raw)
        _ = text_config(config), patch_geometry(config)
    for is_wrong, reason in _faults(config):
        if is_wrong:
            raise CheckpointError(f"{folder}: {reason}")
    return config


def _faults(config: Qwen2_5_VLConfig) -> list[tuple[bool, str]]:
    text, vision = text_config(config), vision_config(config)
    rope = text.rope_parameters or {}
    head, sections = text.hidden_size // text.num_attention_heads, rope.get("mrope_section")
    return [
        ("sliding_attention" in (text.layer_types or ()), "sliding-window attention is not read"),
        (
            rope.get("rope_type") in _SHIFTING_ROPE,
            f"rope_type is {rope.get('rope_type')!r}, which depends on the longest row",
        ),
        (
            not isinstance(sections, list) or 2 * sum(sections) != head,
            f"mrope_section is {sections!r}; its sum must be half the head size {head}",
        ),
        (vision.in_channels != COLOURS, f"in_channels is {vision.in_channels}; {COLOURS} are read"),
        (
            vision.out_hidden_size != text.hidden_size,
            f"out_hidden_size is {vision.out_hidden_size}; the language model's is {text.hidden_size}",
        ),
    ]


def read_patches(folder: Path, config: Qwen2_5_VLConfig) -> PatchSettings:
    """Returns the patch settings; limits and colours come from `preprocessor_config.json`."""
    raw = read_json(folder / "preprocessor_config.json")
    least, most = raw.get("min_pixels"), raw.get("max_pixels")
    if not isinstance(least, int) or not isinstance(most, int) or not 0 < least <= most:
        raise CheckpointError(
            f"{folder}: min_pixels is {least!r} and max_pixels {most!r}; both are needed, in order"
        )
    mean, std = read_normalisation(folder)
    geometry = patch_geometry(config)
    return PatchSettings(
        patch=geometry.patch,
        merge=geometry.merge,
        min_pixels=least,
        max_pixels=most,
        mean=mean,
        std=std,
    )


def read_inputs(folder: Path, config: Qwen2_5_VLConfig, file: RewardFile) -> QwenInputs:
    """Returns what turns texts and images into inputs.

    Raises:
        CheckpointError: a text could produce a vision mark.
    """
    if file.image_mode != "native":
        raise CheckpointError(
            f"{folder}: image_mode is {file.image_mode!r}; Qwen2.5-VL takes 'native'"
        )
    tokenizer = read_tokenizer(folder)
    ids = VisionIds(
        start=config.vision_start_token_id,
        image=config.image_token_id,
        end=config.vision_end_token_id,
    )
    inputs = QwenInputs(
        tokenizer,
        ids=ids,
        limits=TextLimits(max_length=file.max_length, max_chars=file.max_chars),
        patches=read_patches(folder, config),
    )
    added = tokenizer.get_added_tokens_decoder()
    for mark in (ids.start, ids.image, ids.end):
        token = added.get(mark)
        text = "" if token is None else token.content
        is_special = token is not None and token.special
        if not is_special or mark in tokenizer.encode(text, add_special_tokens=False).ids:
            raise CheckpointError(f"{folder / TOKENIZER_FILE}: token {mark} is no special token")
    return inputs


def read_qwen(folder: Path, *, device: str, dtype: str) -> QwenCheckpoint:
    """Returns the reward model of a folder, in evaluation mode.

    Raises:
        CheckpointError: the folder does not fit the layout.
    """
    file = read_reward_file(folder)
    config = read_config(folder)
    inputs = read_inputs(folder, config, file)
    model = QwenRewardModel(config)
    load_weights(model, folder, device=device, dtype=dtype, stored_name=stored_name)
    weights_sha256 = sha256_of(weight_files(folder))
    identity = identity_with(
        file,
        folder=folder,
        weights_sha256=weights_sha256,
        dtype=dtype,
        image=sorted(asdict(read_patches(folder, config)).items()),
    )
    return QwenCheckpoint(
        model=model, inputs=inputs, file=file, weights_sha256=weights_sha256, identity=identity
    )


def write_qwen(
    folder: Path,
    model: QwenRewardModel,
    *,
    file: RewardFile,
    tokenizer: Tokenizer,
    patches: PatchSettings,
    dtype: str,
) -> None:
    """Writes a reward model's folder; weights are stored as `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(
        folder / WEIGHTS_FILE, model.state_dict(), dtype=DTYPES[dtype], stored_name=stored_name
    )
    raw: dict[str, object] = model.config.to_dict()
    raw |= {"architectures": ["Qwen2_5_VLForSequenceClassification"], "dtype": dtype}
    raw.pop("transformers_version", None)
    write_json(folder / "config.json", raw)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "Qwen2VLImageProcessor",
            "min_pixels": patches.min_pixels,
            "max_pixels": patches.max_pixels,
            "patch_size": patches.patch,
            "merge_size": patches.merge,
            "temporal_patch_size": model.geometry.frames,
            "image_mean": list(patches.mean),
            "image_std": list(patches.std),
        },
    )
    (folder / "reward.json").write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")
