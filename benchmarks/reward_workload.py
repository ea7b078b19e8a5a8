"""What the reward benchmarks score: images of noise, each with some texts of about 40 tokens.

Rows and pixels are ready for a model, so that every method is timed from the same start; the same
texts go to vLLM as JSON. The words are those of the blocks world, in random order.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from tokenizers import Tokenizer
from transformers import LlavaConfig

from align2llava.services.reward_model.llava.model import image_geometry, special_ids
from align2llava.services.reward_model.tokens.inputs import (
    ImageInput,
    RowEncoder,
    TextLimits,
    TokenRow,
    question_prompt,
)
from align2llava.services.reward_model.tree.tree import merge

TOKENIZER = Path(__file__).parents[1] / "examples" / "blocks" / "models" / "base" / "tokenizer.json"
WORDS = [
    "red",
    "green",
    "blue",
    "yellow",
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "sign",
    "top",
    "bottom",
    "left",
    "right",
]
MAX_LENGTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One image with its candidates."""

    seed: int  # of the image's noise
    texts: tuple[str, ...]
    rows: tuple[TokenRow, ...]
    image: ImageInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Groups to be scored together, and the model's image size."""

    groups: tuple[Group, ...]
    side: int

    @property
    def num_samples(self) -> int:
        """How many rewards are asked for."""
        return sum(len(group.rows) for group in self.groups)

    @property
    def num_row_tokens(self) -> int:
        """Tokens of all rows, nothing shared."""
        return sum(len(row.ids) for group in self.groups for row in group.rows)

    @property
    def num_tree_tokens(self) -> int:
        """Tokens of each group's tree."""
        trees = (merge([row.ids for row in group.rows]) for group in self.groups)
        return sum(tree.num_tokens for tree in trees)

    def as_json(self) -> str:
        """Returns the groups as `vllm_pooling.py` reads them, on one line."""
        groups = [
            {
                "image": {"width": self.side, "height": self.side, "seed": group.seed},
                "candidates": [{"questions": [text], "answer": None} for text in group.texts],
            }
            for group in self.groups
        ]
        return json.dumps({"groups": groups})


def draw_workload(
    config: LlavaConfig, *, num_groups: int, candidates: float, num_words: int = 40, seed: int = 0
) -> Workload:
    """Returns groups of so many candidates on average, whole numbers near it in turn."""
    rng = Random(seed)
    side, num_image_tokens = image_geometry(config)
    encoder = RowEncoder(
        Tokenizer.from_file(str(TOKENIZER)),
        special=special_ids(config),
        limits=TextLimits(max_length=MAX_LENGTH, max_chars=32_768),
        num_image_tokens=num_image_tokens,
    )
    groups: list[Group] = []
    for number in range(num_groups):
        count = round((number + 1) * candidates) - round(number * candidates)
        texts = tuple(" ".join(rng.choices(WORDS, k=num_words)) for _ in range(count))
        image_seed = rng.randrange(1_000_000)
        rows = tuple(encoder.encode(question_prompt([text]), has_image=True) for text in texts)
        pixels = _noise(image_seed, side=side)
        image = ImageInput(pixels=pixels, num_tokens=num_image_tokens)
        groups.append(Group(seed=image_seed, texts=texts, rows=rows, image=image))
    return Workload(groups=tuple(groups), side=side)


def _noise(seed: int, *, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Returns an image of noise, normalised as CLIP does; equal seeds are equal images in vLLM too."""
    values_HWC = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    values = values_HWC.astype(np.float32) / np.float32(255)
    mean = np.asarray([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
    std = np.asarray([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
    return np.ascontiguousarray(((values - mean) / std).transpose(2, 0, 1))
