"""Driver, service and training agree on each image: whether it is taken, and its pixels bit for bit."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from align2llava.clients.wire import schemas
from align2llava.pipeline.curation.input.images import ImageLimits as DriverLimits
from align2llava.pipeline.curation.input.images import look_at
from align2llava.pipeline.errors import InputError
from align2llava.pipeline.training.images import image_pixels
from align2llava.services.core.images import ImageLimits, ImageStore
from align2llava.services.errors import ServiceError
from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings, pixels_CHW

MAX_PIXELS = 10_000
MAX_BYTES = 100_000


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    corners = np.linspace(0, 255, 30 * 20 * 3).reshape(20, 30, 3).astype(np.uint8)
    return Image.fromarray(corners).convert(mode)


def with_alpha(mode: str) -> Image.Image:
    image = picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def palette_with_transparency() -> bytes:
    return encoded(picture("P"), transparency=bytes(range(256)))


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), "JPEG", exif=exif)


def animated(image_format: str) -> bytes:
    others = [Image.new("RGB", (30, 20), colour) for colour in ("green", "blue")]
    return encoded(picture(), image_format, save_all=True, append_images=others, duration=50)


def two_pictures_of_a_phone() -> bytes:
    return encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (30, 20))])


TAKEN: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(picture()),
    "jpeg": lambda: encoded(picture(), "JPEG"),
    "progressive jpeg": lambda: encoded(picture(), "JPEG", progressive=True),
    "cmyk jpeg": lambda: encoded(picture("CMYK"), "JPEG"),
    "grey jpeg": lambda: encoded(picture("L"), "JPEG"),
    "webp": lambda: encoded(picture(), "WEBP", lossless=True),
    "webp with alpha": lambda: encoded(with_alpha("RGBA"), "WEBP", lossless=True),
    "gif": lambda: encoded(picture("P"), "GIF"),
    "gif with transparency": lambda: encoded(picture("P"), "GIF", transparency=3),
    "bmp": lambda: encoded(picture(), "BMP"),
    "bmp of a palette": lambda: encoded(picture("P"), "BMP"),
    "one bit": lambda: encoded(picture("1")),
    "sixteen bits": lambda: encoded(Image.new("I;16", (30, 20), 30_000)),
    "palette": lambda: encoded(picture("P")),
    "palette with transparency": palette_with_transparency,
    "grey with alpha": lambda: encoded(with_alpha("LA")),
    "rgba": lambda: encoded(with_alpha("RGBA")),
    "animated gif": lambda: animated("GIF"),
    "animated png": lambda: animated("PNG"),
    "animated webp": lambda: animated("WEBP"),
    "mpo": two_pictures_of_a_phone,
    **{f"orientation {number}": lambda number=number: turned(number) for number in range(1, 10)},
    "broken exif": lambda: encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"),
    "a strip": lambda: encoded(Image.new("RGB", (1, 9_000), "red")),
    "a png without its end": lambda: encoded(picture())[:-12],
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"no image",
    "a page": lambda: b"<!DOCTYPE html><html></html>",
    "tiff": lambda: encoded(picture(), "TIFF"),
    "icon": lambda: encoded(picture(), "ICO"),
    "jpeg 2000": lambda: encoded(picture(), "JPEG2000"),
    "netpbm": lambda: encoded(picture(), "PPM"),
    "tga": lambda: encoded(picture(), "TGA"),
    "too many pixels": lambda: encoded(Image.new("1", (101, 100))),
    "too many bytes": lambda: encoded(picture(), "BMP") + bytes(MAX_BYTES),
}
CUT: dict[str, Callable[[], bytes]] = {
    image_format: lambda image_format=image_format: encoded(
        Image.effect_noise((80, 80), 60).convert("RGB"), image_format
    )[:-900]
    for image_format in ("PNG", "JPEG", "WEBP", "GIF", "BMP")
}
SETTINGS = [PixelSettings(mode=mode, size=24) for mode in ImageMode]


def driver_takes(path: Path) -> bool:
    limits = DriverLimits(max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    return look_at(path, limits=limits)[1] is None


async def served(data: bytes) -> Image.Image:
    limits = ImageLimits(max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, max_decode_ms=10_000)
    store = ImageStore(limits, num_threads=1, max_cache_bytes=0)
    try:
        return await store.resolve(
            schemas.Image(sha256=hashlib.sha256(data).hexdigest(), data=data)
        )
    finally:
        store.close()


def trained(path: Path, settings: PixelSettings) -> NDArray[np.float32]:
    return image_pixels(path, settings, max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("name", TAKEN)
async def test_image_is_taken_by_all_and_training_sees_the_pixels_of_serving(
    name: str, tmp_path: Path
):
    data = TAKEN[name]()
    (tmp_path / "a.jpg").write_bytes(data)
    assert driver_takes(tmp_path / "a.jpg")
    image = await served(data)
    for settings in SETTINGS:
        np.testing.assert_array_equal(
            trained(tmp_path / "a.jpg", settings), pixels_CHW(image, settings)
        )


@pytest.mark.parametrize("name", REFUSED)
async def test_image_is_refused_by_all(name: str, tmp_path: Path):
    data = REFUSED[name]()
    (tmp_path / "a.png").write_bytes(data)
    assert not driver_takes(tmp_path / "a.png")
    with pytest.raises(ServiceError):
        await served(data)
    with pytest.raises(InputError):
        trained(tmp_path / "a.png", SETTINGS[0])


@pytest.mark.parametrize("name", CUT)
async def test_image_cut_behind_its_header_is_refused_where_it_is_decoded(
    name: str, tmp_path: Path
):
    data = CUT[name]()
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ServiceError):
        await served(data)
    with pytest.raises(InputError, match=r"a\.png: the image "):
        trained(tmp_path / "a.png", SETTINGS[0])
