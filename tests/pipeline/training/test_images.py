import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from align2llava.pipeline.errors import InputError
from align2llava.pipeline.training.images import image_pixels
from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings, pixels_CHW

SETTINGS = PixelSettings(mode=ImageMode.PAD, size=24)


def read(path: Path, *, max_pixels: int = 1_000, max_bytes: int = 10_000) -> np.ndarray:
    return image_pixels(path, SETTINGS, max_pixels=max_pixels, max_bytes=max_bytes)


def test_image_is_turned_as_its_exif_says_before_it_is_padded(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.linear_gradient("L").resize((20, 10)).convert("RGB")
    image.save(tmp_path / "a.jpg", quality=100, exif=exif)
    with Image.open(tmp_path / "a.jpg") as stored:
        upright = stored.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(read(tmp_path / "a.jpg"), pixels_CHW(upright, SETTINGS))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_pixels": 10}, "the image is 20 x 10 = 200 pixels; the limit is 10"),
        ({"max_bytes": 10}, "the image has [0-9]+ bytes; the limit is 10"),
    ],
    ids=["pixels", "bytes"],
)
def test_image_over_a_limit_is_refused(tmp_path: Path, limits: dict[str, int], message: str):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.png", **limits)


def test_missing_image_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"a\.png: no such image"):
        read(tmp_path / "a.png")


def test_pipe_is_no_image_and_is_never_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match="is no file"):
        read(tmp_path / "a.png")
