from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from align2llava.services.reward_model.llava.checkpoint import RewardFile
from align2llava.services.reward_model.llava.export import write_reward
from align2llava.services.reward_model.llava.model import LlavaRewardModel
from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings
from examples.blocks.train_tokenizer import build_tokenizer


def tiny_llava_config() -> LlavaConfig:
    """Returns a configuration of four image tokens, two layers, a hidden size of 16."""
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        ),
        text_config=LlamaConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=build_tokenizer().get_vocab_size(),
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
            initializer_range=0.3,
        ),
        image_token_index=4,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )


@pytest.fixture(scope="session")
def tiny_config() -> LlavaConfig:
    return tiny_llava_config()


@pytest.fixture
def tiny_model() -> LlavaRewardModel:
    torch.manual_seed(0)
    return LlavaRewardModel(tiny_llava_config()).eval()


@pytest.fixture
def tiny_folder(tmp_path: Path, tiny_model: LlavaRewardModel) -> Path:
    """A whole checkpoint folder of the tiny model."""
    folder = tmp_path / "tiny"
    write_reward(
        folder,
        tiny_model,
        file=RewardFile(
            name="tiny",
            kind="answer-reward",
            image_mode=ImageMode.PAD,
            max_length=48,
            max_chars=400,
        ),
        tokenizer=build_tokenizer(),
        pixels=PixelSettings(mode=ImageMode.PAD, size=16),
        dtype="float32",
    )
    return folder
