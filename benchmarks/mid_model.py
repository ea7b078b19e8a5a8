"""A random reward model of middle size: hidden 512, 8 layers, 576 image tokens (336 px, patch 14).

Speed does not depend on the weights, and agreement of engines is only the harder to reach with them.
Its tokenizer is that of the blocks world. `python benchmarks/mid_model.py` writes one into a new
temporary folder and prints where.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.texts import IMAGE_TOKEN
from align2llava.services.reward_model.llava.checkpoint import RewardFile
from align2llava.services.reward_model.llava.export import write_reward
from align2llava.services.reward_model.llava.model import LlavaRewardModel
from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings

TOKENIZER = Path(__file__).parents[1] / "examples" / "blocks" / "models" / "base" / "tokenizer.json"
IMAGE_PX, PATCH_PX = 336, 14
MAX_LENGTH = 1024


def mid_config(tokenizer: Tokenizer) -> LlavaConfig:
    """Returns the configuration. The vision tower is small (2 layers of 128), so that the text decides."""
    image_id = tokenizer.token_to_id(IMAGE_TOKEN)
    assert image_id is not None, f"{TOKENIZER} has an image token"
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=IMAGE_PX,
        patch_size=PATCH_PX,
        projection_dim=128,
    )
    text = LlamaConfig(
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=tokenizer.token_to_id("<s>"),
        eos_token_id=tokenizer.token_to_id("</s>"),
        pad_token_id=tokenizer.token_to_id("<pad>"),
        rms_norm_eps=1e-5,
        initializer_range=512**-0.5,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_id,
        image_seq_length=(IMAGE_PX // PATCH_PX) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
    )


def write_mid_model(folder: Path, *, kind: RewardKind, seed: int) -> None:
    """Writes the model's folder; the same bytes for equal seeds."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    torch.manual_seed(seed)
    write_reward(
        folder,
        LlavaRewardModel(mid_config(tokenizer)),
        file=RewardFile(
            name=f"mid-{kind}", kind=kind, image_mode=ImageMode.PAD, max_length=MAX_LENGTH
        ),
        tokenizer=tokenizer,
        pixels=PixelSettings(mode=ImageMode.PAD, size=IMAGE_PX),
        dtype="float32",
    )


def main() -> None:
    """Writes a model and prints its folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["question-reward", "answer-reward"], required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mid-model-"))
    write_mid_model(folder, kind=arguments.kind, seed=arguments.seed)
    print(folder)


if __name__ == "__main__":
    main()
