import numpy as np
import pytest
from PIL import Image
from transformers.models.clip import CLIPImageProcessor

from services.reward_model.pixels import ImageMode, PixelSettings, centre_square, padded, pixels_CHW


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(48, 48), (60, 41), (41, 60), (31, 47), (24, 24)])
def test_square_is_clips_own_preprocessing(size):
    processor = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size=24)
    expected = np.asarray(processor(noise(*size), return_tensors="np")["pixel_values"][0])
    ours = pixels_CHW(noise(*size), PixelSettings(mode=ImageMode.SQUARE, size=24))
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_pad_keeps_the_whole_image_between_bars_of_the_mean_colour():
    image = padded(noise(40, 20), mean=(0.5, 0.25, 0.0))
    assert image.size == (40, 40)
    assert image.getpixel((0, 0)) == (127, 63, 0)
    assert image.crop((0, 10, 40, 30)).tobytes() == noise(40, 20).tobytes()


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
