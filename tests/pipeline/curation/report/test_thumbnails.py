import base64
import io

import pytest
from PIL import Image

from align2llava.pipeline.curation.report.thumbnails import (
    MAX_SIDE,
    MAX_SOURCE_PIXELS,
    Thumbnail,
    thumbnail,
)


def encoded(image: Image.Image, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def decoded(small: Thumbnail | None) -> Image.Image:
    assert small is not None
    head, data = small.uri.split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_large_image_is_bounded_and_keeps_its_shape():
    small = thumbnail(encoded(Image.new("RGB", (1200, 600), "navy"), "JPEG"))
    assert decoded(small).size == (MAX_SIDE, MAX_SIDE // 2)
    assert small is not None
    assert (small.width, small.height) == (MAX_SIDE, MAX_SIDE // 2)


def test_small_image_is_not_enlarged_and_loses_nothing():
    image = decoded(thumbnail(encoded(Image.new("RGB", (40, 30), (12, 200, 77)))))
    assert image.size == (40, 30)
    assert image.convert("RGB").getpixel((20, 15)) == (12, 200, 77)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "I;16", "CMYK", "1"])
def test_every_mode_becomes_a_picture(mode: str):
    file_format = "JPEG" if mode == "CMYK" else "PNG"
    assert decoded(thumbnail(encoded(Image.new(mode, (20, 20)), file_format))).size == (20, 20)


def test_sixteen_bit_grey_is_scaled_and_not_white():
    small = decoded(thumbnail(encoded(Image.new("I;16", (20, 20), 257 * 100))))
    assert small.convert("RGB").getpixel((5, 5)) == (100, 100, 100)


def test_transparent_pixels_become_white():
    image = decoded(thumbnail(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)))))
    assert image.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        encoded(Image.new("RGB", (300, 300), "red"))[:200],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        encoded(Image.new("RGB", (9, 9)), "TIFF"),
    ],
    ids=["empty", "text", "cut off", "a program for Ghostscript", "a format no service reads"],
)
def test_what_cannot_be_decoded_has_no_thumbnail(data: bytes):
    assert thumbnail(data) is None


def test_broken_exif_costs_no_picture():
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01")
    assert decoded(thumbnail(buffer.getvalue())).size == (20, 10)


def test_too_many_pixels_are_not_decoded():
    side = int(MAX_SOURCE_PIXELS**0.5) + 1
    assert thumbnail(encoded(Image.new("1", (side, side)))) is None
