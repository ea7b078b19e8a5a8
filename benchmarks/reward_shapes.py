"""The models of the reward benchmarks: what they are called, how they are built, where they lie.

Heavy or optional imports happen in the functions: on a GPU machine there is only torch and
transformers.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from align2llava.services.reward_model.llava.model import LlavaRewardModel, image_geometry

BLOCKS = Path(__file__).parents[1] / "examples" / "blocks" / "models" / "question-reward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model to be measured; `folder` is empty where it is not on disk."""

    name: str
    dtype: str
    config: LlavaConfig
    folder: Path
    build: Callable[[str], LlavaRewardModel]  # by device


def blocks_shape() -> Shape:
    """Returns the committed question reward model of the blocks world."""
    return _from_folder("blocks", BLOCKS)


def mid_shape() -> Shape:
    """Returns the random middle model, written into a temporary folder."""
    from benchmarks.mid_model import write_mid_model  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="mid-model-"))
    write_mid_model(folder, kind="question-reward", seed=0)
    return _from_folder("mid", folder)


def _from_folder(name: str, folder: Path) -> Shape:
    from align2llava.services.reward_model.llava.checkpoint import read_config, read_reward  # noqa: PLC0415

    def build(device: str) -> LlavaRewardModel:
        return read_reward(folder, device=device, dtype="float32").model

    return Shape(name=name, dtype="float32", config=read_config(folder), folder=folder, build=build)


def seven_b_shape() -> Shape:
    """Returns a random model of LLaVA-1.5-7B's shape, in bfloat16. Source: its config.json."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    text = LlamaConfig(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        vocab_size=32064,
        max_position_embeddings=4096,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=32001,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=32000,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )

    def build(device: str) -> LlavaRewardModel:
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device(device):
                return LlavaRewardModel(config).eval().requires_grad_(requires_grad=False)
        finally:
            torch.set_default_dtype(torch.float32)

    return Shape(name="7b", dtype="bfloat16", config=config, folder=Path(), build=build)


def flops(config: LlavaConfig, *, num_tokens: int, num_images: int) -> float:
    """Returns the multiply-adds, times two, of the weights alone; attention over places comes on top."""
    text, vision = config.text_config, config.vision_config
    assert isinstance(text, LlamaConfig)
    assert isinstance(vision, CLIPVisionConfig)
    per_token = text.num_hidden_layers * _layer(text.hidden_size, text.intermediate_size, gates=3)
    per_patch = vision.num_hidden_layers * _layer(
        vision.hidden_size, vision.intermediate_size, gates=2
    )
    patches = image_geometry(config)[1] + 1
    return 2.0 * (per_token * num_tokens + per_patch * patches * num_images)


def _layer(hidden: int, intermediate: int, *, gates: int) -> int:
    return 4 * hidden * hidden + gates * hidden * intermediate
