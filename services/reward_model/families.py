"""What an engine needs of a reward model, whatever its family: inputs on the CPU, forwards on a device.

A family is an adapter of two classes that fit the Protocols here. Shapes: T places of a tree,
A position axes (1, or 3 with m-RoPE), R rows, P image tokens, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image
from torch import Tensor

from align2llava.services.reward_model.card import read_purpose
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import (
    RewardCheckpoint,
    RewardFile,
    model_type,
    read_reward,
)
from align2llava.services.reward_model.qwen.checkpoint import MODEL_TYPE, read_qwen
from align2llava.services.reward_model.tokens.inputs import ImageInput, TokenRow
from align2llava.services.reward_model.tokens.pixels import pixels_CHW
from align2llava.services.reward_model.tree.attention import TreeAttention
from align2llava.services.reward_model.tree.tree import Ints, Tree


class RewardInputs(Protocol):
    """Turns texts and images into what the model reads; any thread, several at once."""

    def image(self, image: Image.Image) -> ImageInput:
        """Returns an RGB image as the vision tower reads it."""
        ...

    def row(self, prompt: str, image: ImageInput | None) -> TokenRow:
        """Returns the whole sequence of a prompt after its image.

        Raises:
            InputTextError: the prompt cannot be scored.
        """
        ...

    def positions(self, tree: Tree, rows: Sequence[TokenRow], image: ImageInput | None) -> Ints:
        """Returns the positions of a tree's places, [A, T], each as in a whole row."""
        ...


class RewardModel(Protocol):
    """Computes rewards; one thread."""

    def features(self, images: Sequence[ImageInput]) -> list[Tensor]:
        """Returns the image tokens of each image, [P, D] each."""
        ...

    def pack(self, attention: TreeAttention) -> None:
        """Makes this a model of trees alone, which attend so; once, before `tree_rewards`."""
        ...

    def tree_rewards(
        self, tree: Tree, positions_AT: Ints, features: Sequence[Tensor | None]
    ) -> Tensor:
        """Returns the reward of each of a tree's rows, float32, [R].

        `features` holds the image tokens of each tree that was joined, or None, in order.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A reward model with its inputs, and what names it."""

    model: RewardModel
    inputs: RewardInputs
    file: RewardFile
    weights_sha256: str
    identity: str
    purpose: str  # what its card says it is for


def load_model(folder: Path, *, device: str, dtype: str) -> LoadedModel:
    """Returns the reward model of a folder, in evaluation mode.

    Raises:
        CheckpointError: the folder does not fit its family's layout, or is of no family here.
    """
    family = model_type(folder)
    if family == MODEL_TYPE:
        qwen = read_qwen(folder, device=device, dtype=dtype)
        return LoadedModel(
            model=qwen.model,
            inputs=qwen.inputs,
            file=qwen.file,
            weights_sha256=qwen.weights_sha256,
            identity=qwen.identity,
            purpose=read_purpose(folder),
        )
    if family != "llava":
        raise CheckpointError(
            f"{folder}: model_type is {family!r}; 'llava' and '{MODEL_TYPE}' are read"
        )
    llava = read_reward(folder, device=device, dtype=dtype)
    return LoadedModel(
        model=llava.model,
        inputs=LlavaInputs(llava),
        file=llava.file,
        weights_sha256=llava.weights_sha256,
        identity=llava.identity,
        purpose=read_purpose(folder),
    )


class LlavaInputs:
    """LLaVA's inputs: an image of fixed size, its tokens first, positions as they count."""

    def __init__(self, checkpoint: RewardCheckpoint) -> None:
        self._pixels = checkpoint.pixels
        self._encoder = checkpoint.encoder

    def image(self, image: Image.Image) -> ImageInput:
        """Returns an RGB image as the vision tower reads it."""
        return ImageInput(
            pixels=pixels_CHW(image, self._pixels), num_tokens=self._encoder.num_image_tokens
        )

    def row(self, prompt: str, image: ImageInput | None) -> TokenRow:
        """Returns the whole sequence of a prompt after its image; see `RowEncoder.encode`."""
        return self._encoder.encode(prompt, has_image=image is not None)

    def positions(self, tree: Tree, rows: Sequence[TokenRow], image: ImageInput | None) -> Ints:
        """Returns the positions of a tree's places, [1, T]: their depths."""
        del rows, image
        return tree.depths_T[None]
