"""A tiny random Qwen2.5-VL reward model, and its rewards as transformers alone computes them."""

from functools import cache
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLVisionConfig,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from align2llava.services.reward_model.llava.checkpoint import RewardFile
from align2llava.services.reward_model.qwen.checkpoint import write_qwen
from align2llava.services.reward_model.qwen.inputs import PatchSettings
from align2llava.services.reward_model.qwen.model import QwenRewardModel
from examples.blocks.train_tokenizer import build_tokenizer

MARKS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
# Tokens of 8 x 8 pixels; 2 to 20 of them.
PATCHES = PatchSettings(patch=4, merge=2, min_pixels=128, max_pixels=1280)


@cache
def qwen_tokenizer() -> Tokenizer:
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens(list(MARKS))
    return tokenizer


def token_id(mark: str) -> int:
    found = qwen_tokenizer().token_to_id(mark)
    assert found is not None
    return found


def tiny_qwen_config() -> Qwen2_5_VLConfig:
    """Returns two layers of 32 with shared key heads; a tower with windows of 2 x 2 tokens."""
    start, image, end = map(token_id, MARKS)
    return Qwen2_5_VLConfig(
        text_config=Qwen2_5_VLTextConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=qwen_tokenizer().get_vocab_size(),
            max_position_embeddings=128,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.2,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 100.0,
                "mrope_section": [1, 1, 2],
            },
        ),
        vision_config=Qwen2_5_VLVisionConfig(
            depth=2,
            hidden_size=32,
            intermediate_size=48,
            num_heads=2,
            patch_size=4,
            window_size=16,
            fullatt_block_indexes=[1],
            out_hidden_size=32,
            initializer_range=0.2,
        ),
        vision_start_token_id=start,
        image_token_id=image,
        vision_end_token_id=end,
    )


def write_tiny_qwen(folder: Path, *, max_length: int = 60) -> Path:
    """Returns the folder with a whole checkpoint in it."""
    torch.manual_seed(0)
    write_qwen(
        folder,
        QwenRewardModel(tiny_qwen_config()),
        file=RewardFile(
            name="tiny-qwen",
            kind="answer-reward",
            image_mode="native",
            max_length=max_length,
            max_chars=400,
        ),
        tokenizer=qwen_tokenizer(),
        patches=PATCHES,
        dtype="float32",
    )
    return folder


class OneAtATime:
    """Rewards by transformers' own processor, tokenizer and whole forward; one row each."""

    def __init__(self, folder: Path, model: QwenRewardModel) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
        self._model = Qwen2_5_VLModel(tiny_qwen_config()).eval()
        self._model.load_state_dict(model.qwen.state_dict())
        self._head = model.score.weight[0]

    def ids(self, prompt: str, *, num_image_tokens: int) -> list[int]:
        """Returns the row as the tokenizer reads it, marks spelled out."""
        if num_image_tokens:
            start, image, end = MARKS
            prompt = f"{start}{image * num_image_tokens}{end}\n{prompt}"
        return self._tokenizer.encode(prompt, add_special_tokens=False).ids

    def reward(self, prompt: str, image: Image.Image | None) -> float:
        """Returns the reward of a prompt after its image."""
        inputs: dict[str, torch.Tensor] = {}
        num_tokens = 0
        if image is not None:
            inputs = dict(self._processor(images=[image], return_tensors="pt"))
            num_tokens = int(inputs["image_grid_thw"].prod()) // 4
        ids = torch.tensor([self.ids(prompt, num_image_tokens=num_tokens)])
        # Without it transformers counts positions as in text, and says nothing.
        kinds = (ids == self._model.config.image_token_id).int()
        with torch.inference_mode():
            hidden = self._model(
                input_ids=ids, mm_token_type_ids=kinds, use_cache=False, **inputs
            ).last_hidden_state
            return float(hidden[0, -1].float() @ self._head)
