"""What Qwen2.5-VL reads: patches of an image of any shape, token rows, m-RoPE positions. No torch.

LongTextError
  +-- LongImageError     the image leaves no place for a text

A row is `<|vision_start|>`, the image's tokens, `<|vision_end|>`, a newline and the prompt; without an
image it is the prompt alone. There is no chat template and no BOS.
Shapes: H, W the image's tokens down and across, M patches of a token, V values of a patch, T places.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from align2llava.services.reward_model.tokens.inputs import (
    ImageInput,
    LongTextError,
    TextLimits,
    TokenRow,
    refuse_long,
)
from align2llava.services.reward_model.tokens.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    normalised,
    without_far_ends,
)
from align2llava.services.reward_model.tree.tree import Ints, Tree

MAX_ASPECT = 200  # transformers refuses images beyond it; here their far ends are cut off
NUM_MARKS = 2  # before and after an image


class LongImageError(LongTextError):
    """An image takes all places of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSettings:
    """What decides the patches that the vision tower sees."""

    patch: int  # side of a patch in pixels
    merge: int  # a token covers `merge` x `merge` patches
    min_pixels: int  # smaller images are enlarged to it
    max_pixels: int  # larger images are reduced to it
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionIds:
    """Token ids that no text produces."""

    start: int
    image: int
    end: int


def tokens_of(size: tuple[int, int], settings: PatchSettings) -> tuple[int, int]:
    """Returns how many tokens an image of this width and height has across and down.

    The nearest whole tokens, made fewer or more so that the pixels lie within the limits; an image
    that is long and thin may still exceed the upper one, as a side has one token at least.
    Source: Qwen2-VL's `smart_resize`.
    """
    side = settings.patch * settings.merge
    width, height = size
    across, down = round(width / side), round(height / side)
    if across * down * side**2 > settings.max_pixels:
        shrink = math.sqrt(width * height / settings.max_pixels)
        return (
            max(1, math.floor(width / shrink / side)),
            max(1, math.floor(height / shrink / side)),
        )
    if across * down * side**2 < settings.min_pixels:
        grow = math.sqrt(settings.min_pixels / (width * height))
        return math.ceil(width * grow / side), math.ceil(height * grow / side)
    return across, down


def patches_HWMV(image: Image.Image, settings: PatchSettings) -> NDArray[np.float32]:
    """Returns an image's normalised patches in the vision tower's order, one frame each."""
    rgb = without_far_ends(image.convert("RGB"), max_aspect=MAX_ASPECT)
    across, down = tokens_of(rgb.size, settings)
    side = settings.patch * settings.merge
    target = (across * side, down * side)
    if rgb.size != target:
        rgb = rgb.resize(target, Image.Resampling.BICUBIC)
    values = normalised(rgb, settings.mean, settings.std)
    shape = (down, settings.merge, settings.patch, across, settings.merge, settings.patch, 3)
    # token down, token across, patch down, patch across, colour, pixel down, pixel across
    ordered = values.reshape(shape).transpose(0, 3, 1, 4, 6, 2, 5)
    return ordered.reshape(down, across, settings.merge**2, -1)


def _cut_size(image: Image.Image) -> tuple[int, int]:
    return without_far_ends(image, max_aspect=MAX_ASPECT).size


def positions_of(num_places: int, grid: tuple[int, int] | None) -> Ints:
    """Returns a row's positions in time, height and width, [3, T]; `grid` the image's tokens, H, W.

    An image's tokens share one time and count rows and columns; what follows it counts on from the
    largest position. Source: transformers' `Qwen2_5_VLModel.get_rope_index`.
    """
    if grid is None:
        return np.tile(np.arange(num_places), (3, 1))
    down, across = grid
    first = 1  # after the mark
    rows, columns = np.indices(grid).reshape(2, -1) + first
    times = np.full(down * across, first)
    num_after = max(0, num_places - first - down * across)
    after = np.arange(num_after) + first + max(grid)
    mark_and_image = np.concatenate([[[0]] * 3, [times, rows, columns]], axis=1)
    return np.concatenate([mark_and_image, np.tile(after, (3, 1))], axis=1)[:, :num_places]


class QwenInputs:
    """Qwen2.5-VL's inputs; see `families.RewardInputs`."""

    def __init__(
        self, tokenizer: Tokenizer, *, ids: VisionIds, limits: TextLimits, patches: PatchSettings
    ) -> None:
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._ids = ids
        self._limits = limits
        self._patches = patches

    def image(self, image: Image.Image) -> ImageInput:
        """Returns an image's patches, [H, W, M, V], in its own shape; none where no row has place for them."""
        across, down = tokens_of(_cut_size(image), self._patches)
        num_tokens = down * across + NUM_MARKS
        if (
            num_tokens >= self._limits.max_length
        ):  # each row will say so; patches would be for nothing
            return ImageInput(
                pixels=np.empty((down, across, 0, 0), np.float32), num_tokens=num_tokens
            )
        return ImageInput(pixels=patches_HWMV(image, self._patches), num_tokens=num_tokens)

    def row(self, prompt: str, image: ImageInput | None) -> TokenRow:
        """Returns the row of a prompt; beyond `max_length` its end is cut and `truncated` set.

        Raises:
            LongTextError: the prompt has more than `max_chars` characters.
            LongImageError: the image alone takes `max_length` places or more.
        """
        refuse_long(prompt, self._limits)
        if image is None:
            ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        else:
            text = self._tokenizer.encode("\n" + prompt, add_special_tokens=False)
            ids = self._image_ids(image) + text.ids
        kept = ids[: self._limits.max_length]
        return TokenRow(ids=tuple(kept), truncated=len(kept) < len(ids))

    def _image_ids(self, image: ImageInput) -> list[int]:
        if image.num_tokens >= self._limits.max_length:
            raise LongImageError(
                f"the image takes {image.num_tokens} tokens; the model's limit is "
                f"{self._limits.max_length}, the text included"
            )
        tokens = [self._ids.image] * (image.num_tokens - NUM_MARKS)
        return [self._ids.start, *tokens, self._ids.end]

    def positions(self, tree: Tree, rows: Sequence[TokenRow], image: ImageInput | None) -> Ints:
        """Returns the positions of a tree's places, [3, T], each as in the whole row it is from.

        All rows begin with the same image, so that a place's depth in its row decides.
        """
        del rows
        grid = None if image is None else (image.pixels.shape[0], image.pixels.shape[1])
        return positions_of(int(tree.depths_T.max()) + 1, grid)[:, tree.depths_T]
