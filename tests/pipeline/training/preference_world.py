"""A world of preferences so small that a tiny model learns it in seconds: the picture is a colour,
and of two answers that name a colour the right one is preferred."""

import json
from pathlib import Path
from random import Random

import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

from align2llava.pipeline.training.language import LlavaLanguageModel
from align2llava.services.reward_model.llava.export import write_language_model
from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings
from examples.blocks.train_tokenizer import build_tokenizer

COLOURS = {"red": (200, 0, 0), "blue": (0, 0, 200)}


def tiny_config(vocab_size: int) -> LlavaConfig:
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=16,
        ),
        text_config=LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=vocab_size,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
            initializer_range=0.2,
        ),
        image_token_index=4,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )


def write_world(folder: Path, *, steps: int = 6, **optimiser: object) -> Path:
    """Writes base, images, preferences and the config of a training, whose path is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer: Tokenizer = build_tokenizer()
    write_language_model(
        folder / "base",
        LlavaLanguageModel(tiny_config(tokenizer.get_vocab_size())),
        tokenizer=tokenizer,
        pixels=PixelSettings(mode=ImageMode.PAD, size=16),
        dtype="float32",
    )
    for split, seed in (("train", 1), ("test", 2)):
        _write_split(folder, split, Random(seed))
    config = {
        "train": {"path": "train.json", "images_root": "images"},
        "test": {"path": "test.json", "images_root": "images"},
        "model": {"base": "base", "name": "tiny", "max_length": 64, "store_dtype": "float32"}
        | {"purpose": "two colours"},
        "optimiser": {
            "steps": steps,
            "groups_per_step": 8,
            "learning_rate": 3e-3,
            "cross_image": 0.0,
            **optimiser,
        },
        "run": {"work": "work", "out": "out", "snapshot_every": 4, "evaluate_every": 5},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def _write_split(folder: Path, split: str, rng: Random) -> None:
    entries: list[dict[str, object]] = []
    (folder / "images").mkdir(exist_ok=True)
    for number in range(24):
        colour = rng.choice(sorted(COLOURS))
        shade = tuple(max(0, value + rng.randint(-20, 20)) for value in COLOURS[colour])
        name = f"{split}{number}.png"
        Image.new("RGB", (16, 16), shade).save(folder / "images" / name)
        answers = sorted(COLOURS)
        rng.shuffle(answers)
        conversations = [
            {"from": "human", "value": "<image>\nWhat color is it?"},
            {
                "from": "gpt",
                "value": [f"It is {answer}." for answer in answers],
                "score": [0.9 if answer == colour else 0.2 for answer in answers],
            },
        ]
        entries.append({"id": number, "image": name, "conversations": conversations})
    (folder / f"{split}.json").write_text(json.dumps(entries))
