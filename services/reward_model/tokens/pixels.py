"""Image preprocessing of the reward models: `square` (CLIP) or `pad`, recorded in the checkpoint.

Done with Pillow and numpy alone, so that training and serving agree on every machine.
Shapes: C channels (3), H = W = `size`.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_ASPECT = 8
MAX_PADDED_SIDE = 6144  # pixels; photographs within the default of A2L_MAX_PIXELS are shorter
BAND_PIXELS = 2**20
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageMode(StrEnum):
    """How an image becomes a square.

    `square`: the shorter side is resized to `size`, then the centre is cut out (the released
    scoring code). `pad`: the image is first padded to a square with the mean colour (the released
    training code).
    """

    SQUARE = "square"
    PAD = "pad"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSettings:
    """What decides the pixels that the vision tower sees."""

    mode: ImageMode
    size: int  # side in pixels after preprocessing
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD


def padded_square(image: Image.Image, size: int, mean: tuple[float, float, float]) -> Image.Image:
    """Returns the image, centred in a square of the mean colour, resized to `size` x `size`; bicubic.

    Bit for bit what resizing the whole padded square gives, without ever holding it: bands of its rows are
    resized across, and their result down. An image longer than `MAX_PADDED_SIDE` is first reduced to it.
    Source: LLaVA `llava/mm_utils.py`, `expand2square`.
    """
    image = _within(image, MAX_PADDED_SIDE)
    width, height = image.size
    side = max(width, height)
    colour = (int(mean[0] * 255), int(mean[1] * 255), int(mean[2] * 255))
    left, top = (side - width) // 2, (side - height) // 2
    num_rows = max(1, BAND_PIXELS // side)
    narrow = Image.new("RGB", (size, side))
    for first in range(0, side, num_rows):
        band = Image.new("RGB", (side, min(num_rows, side - first)), colour)
        band.paste(image, (left, top - first))
        narrow.paste(band.resize((size, band.height), Image.Resampling.BICUBIC), (0, first))
    return narrow.resize((size, size), Image.Resampling.BICUBIC)


def _within(image: Image.Image, max_side: int) -> Image.Image:
    width, height = image.size
    longer = max(width, height)
    if longer <= max_side:
        return image
    target = (max(1, width * max_side // longer), max(1, height * max_side // longer))
    return image.resize(target, Image.Resampling.BICUBIC)


def without_far_ends(image: Image.Image, *, max_aspect: int) -> Image.Image:
    """Returns the image, its longer side cut symmetrically to `max_aspect` times the shorter."""
    width, height = image.size
    limit = max_aspect * min(width, height)
    if max(width, height) <= limit:
        return image
    left, top = max(0, (width - limit) // 2), max(0, (height - limit) // 2)
    return image.crop((left, top, min(width, left + limit), min(height, top + limit)))


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """Returns the central `size` x `size` cut after the shorter side was resized to `size`.

    Bicubic; the longer side is rounded down, as in CLIP's own preprocessing. Of an image longer
    than `MAX_ASPECT` times its width only the middle is resized: the rest would be cut away, and
    a strip of one pixel by a million would need gigabytes.
    """
    image = without_far_ends(image, max_aspect=MAX_ASPECT)
    width, height = image.size
    shorter, longer = min(width, height), max(width, height)
    longer = size * longer // shorter
    target = (size, longer) if width <= height else (longer, size)
    resized = image if image.size == target else image.resize(target, Image.Resampling.BICUBIC)
    left, top = (target[0] - size) // 2, (target[1] - size) // 2
    return resized.crop((left, top, left + size, top + size))


def pixels_CHW(image: Image.Image, settings: PixelSettings) -> NDArray[np.float32]:
    """Returns the normalised float32 pixels of an RGB image, channels first."""
    rgb = image.convert("RGB")
    if settings.mode is ImageMode.PAD:
        rgb = padded_square(rgb, settings.size, settings.mean)
    values_HWC = normalised(centre_square(rgb, settings.size), settings.mean, settings.std)
    return np.ascontiguousarray(values_HWC.transpose(2, 0, 1))


def normalised(
    image: Image.Image, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Returns the values of an RGB image in [0, 1], less the mean, over the deviation; [H, W, C]."""
    values_HWC = np.array(image, dtype=np.float32)
    values_HWC /= np.float32(255)  # in place: a large image's values are 12 bytes a pixel, once
    values_HWC -= np.asarray(mean, dtype=np.float32)
    values_HWC /= np.asarray(std, dtype=np.float32)
    return values_HWC
