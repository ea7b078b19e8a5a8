import numpy as np
import pytest
from PIL import Image
from transformers.models.clip import CLIPImageProcessor

from align2llava.services.reward_model.tokens.pixels import (
    MAX_PADDED_SIDE,
    ImageMode,
    PixelSettings,
    centre_square,
    padded_square,
    pixels_CHW,
)


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(48, 48), (60, 41), (41, 60), (31, 47), (24, 24)])
def test_square_is_clips_own_preprocessing(size):
    processor = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size=24)
    expected = np.asarray(processor(noise(*size), return_tensors="np")["pixel_values"][0])
    ours = pixels_CHW(noise(*size), PixelSettings(mode=ImageMode.SQUARE, size=24))
    np.testing.assert_allclose(ours, expected, atol=2e-6)


MEAN = (0.5, 0.25, 0.0)


def whole_square(image: Image.Image) -> Image.Image:
    """LLaVA's `expand2square`, as it stands in `llava/mm_utils.py`."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(x * 255) for x in MEAN))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def test_pad_keeps_the_whole_image_between_bars_of_the_mean_colour():
    image = padded_square(noise(40, 20), 40, MEAN)
    assert image.size == (40, 40)
    assert image.getpixel((0, 0)) == (127, 63, 0)
    assert image.crop((0, 10, 40, 30)).tobytes() == noise(40, 20).tobytes()


@pytest.mark.parametrize(
    "size", [(40, 20), (20, 40), (31, 30), (1, 300), (300, 1), (1500, 900), (700, 1400), (9, 9)]
)
def test_pad_in_bands_is_llavas_own_bit_for_bit(size: tuple[int, int]):
    expected = whole_square(noise(*size)).resize((24, 24), Image.Resampling.BICUBIC)
    assert padded_square(noise(*size), 24, MEAN).tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (1, 1_000_000), (690, 15_420)])
def test_strip_is_padded_without_the_memory_of_its_square(size: tuple[int, int]):
    strip = Image.new("RGB", size)
    image = padded_square(strip, 24, MEAN)
    assert image.size == (24, 24)


def test_long_image_is_reduced_before_it_is_padded_and_looks_the_same():
    image = Image.linear_gradient("L").resize((500, MAX_PADDED_SIDE + 2000)).convert("RGB")
    exact = whole_square(image).resize((24, 24), Image.Resampling.BICUBIC)
    found = padded_square(image, 24, MEAN)
    assert np.abs(np.asarray(exact, float) - np.asarray(found, float)).max() <= 2


def test_the_two_modes_differ_on_an_oblong_image_and_agree_on_a_square_one():
    square, pad = (PixelSettings(mode=mode, size=24) for mode in ImageMode)
    assert not np.allclose(pixels_CHW(noise(60, 30), square), pixels_CHW(noise(60, 30), pad))
    np.testing.assert_array_equal(pixels_CHW(noise(30, 30), square), pixels_CHW(noise(30, 30), pad))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_pixel_modes_are_read_as_rgb(mode):
    pixels = pixels_CHW(noise(30, 30).convert(mode), PixelSettings(mode=ImageMode.PAD, size=24))
    assert pixels.shape == (3, 24, 24)
    assert pixels.dtype == np.float32


def test_a_strip_of_a_pixel_by_a_million_needs_no_gigabytes():
    strip = Image.new("RGB", (1_000_000, 1))
    assert centre_square(strip, 336).size == (336, 336)
