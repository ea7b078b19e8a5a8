import asyncio
import hashlib
import io
import struct
import threading
import zlib

import pytest
from PIL import Image, ImageDraw

from clients.wire import schemas
from services import images
from services.errors import ImageInvalidError, ImageNeededError, TooLargeError
from services.images import ImageLimits, ImageStore, decoded

LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=10_000, max_decode_ms=5_000)


def encoded(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def wire(data: bytes) -> schemas.Image:
    return schemas.Image(sha256=hashlib.sha256(data).hexdigest(), data=data)


def by_hash(data: bytes) -> schemas.Image:
    return schemas.Image(sha256=hashlib.sha256(data).hexdigest())


def store(limits: ImageLimits = LIMITS, *, max_cache_bytes: int = 10_000) -> ImageStore:
    return ImageStore(limits, num_threads=2, max_cache_bytes=max_cache_bytes)


RED = encoded(Image.new("RGB", (10, 20), "red"))


async def test_image_with_data_is_decoded_and_later_known_by_hash():
    held = store()
    with pytest.raises(ImageNeededError):
        await held.resolve(by_hash(RED))
    first = await held.resolve(wire(RED))
    assert (first.mode, first.size, first.getpixel((0, 0))) == ("RGB", (10, 20), (255, 0, 0))
    assert await held.resolve(by_hash(RED)) is first
    assert await held.resolve(wire(RED)) is first


async def test_data_of_another_hash_is_invalid_and_never_cached():
    held = store()
    lie = schemas.Image(sha256="0" * 64, data=RED)
    with pytest.raises(ImageInvalidError, match="sha256"):
        await held.resolve(lie)
    with pytest.raises(ImageNeededError):
        await held.resolve(schemas.Image(sha256="0" * 64))


async def test_held_hash_with_other_data_is_still_invalid():
    held = store()
    await held.resolve(wire(RED))
    with pytest.raises(ImageInvalidError):
        await held.resolve(schemas.Image(sha256=hashlib.sha256(RED).hexdigest(), data=b"x"))


async def test_cache_forgets_the_least_recently_used_and_stays_within_its_bytes():
    held = store(max_cache_bytes=1300)  # two of the three images of 600 bytes
    first, second, third = (
        encoded(Image.new("RGB", (10, 20), colour)) for colour in ("red", "green", "blue")
    )
    await held.resolve(wire(first))
    await held.resolve(wire(second))
    await held.resolve(by_hash(first))
    await held.resolve(wire(third))
    await held.resolve(by_hash(first))
    await held.resolve(by_hash(third))
    with pytest.raises(ImageNeededError):
        await held.resolve(by_hash(second))


async def test_cache_of_no_bytes_keeps_nothing():
    held = store(max_cache_bytes=0)
    await held.resolve(wire(RED))
    with pytest.raises(ImageNeededError):
        await held.resolve(by_hash(RED))


async def test_too_many_bytes_are_refused_before_decoding():
    with pytest.raises(TooLargeError, match="the limit is 10"):
        await store(ImageLimits(max_bytes=10, max_pixels=10, max_decode_ms=1)).resolve(wire(RED))


async def test_slow_decoding_is_given_up(monkeypatch: pytest.MonkeyPatch):
    release = threading.Event()
    monkeypatch.setattr(images, "checked_and_decoded", lambda *_, **__: release.wait(5))
    held = store(ImageLimits(max_bytes=1_000, max_pixels=1_000, max_decode_ms=10))
    with pytest.raises(ImageInvalidError, match="10 ms"):
        await held.resolve(wire(RED))
    release.set()
    await asyncio.sleep(0)


async def test_image_behind_slow_ones_has_its_own_time_once_a_thread_is_free(
    monkeypatch: pytest.MonkeyPatch,
):
    release = threading.Event()
    decode = images.checked_and_decoded

    def slow_where_red(data: bytes, **options) -> Image.Image:
        if data == RED:
            release.wait(5)
        return decode(data, **options)

    monkeypatch.setattr(images, "checked_and_decoded", slow_where_red)
    held = store(ImageLimits(max_bytes=1_000, max_pixels=1_000, max_decode_ms=200))
    given_up = await asyncio.gather(
        *(held.resolve(wire(RED)) for _ in range(2)), return_exceptions=True
    )
    assert [type(error) for error in given_up] == [ImageInvalidError] * 2
    behind = asyncio.create_task(held.resolve(wire(encoded(Image.new("RGB", (10, 20), "blue")))))
    await asyncio.sleep(0.05)
    assert not behind.done()
    release.set()
    assert (await behind).getpixel((0, 0)) == (0, 0, 255)


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [101, 8_000, 60_000])
def test_too_many_pixels_are_refused_by_the_header(side: int):
    with pytest.raises(TooLargeError, match="the limit is 10000"):
        decoded(png_header_of(side, side), max_pixels=10_000)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not an image", id="text"),
        pytest.param(encoded(Image.new("RGB", (9, 9)), "GIF"), id="another format"),
        pytest.param(RED[:40], id="cut in the header"),
        pytest.param(encoded(Image.effect_noise((90, 90), 50))[:-200], id="cut in the data"),
        pytest.param(encoded(Image.effect_noise((90, 90), 50), "JPEG")[:-800], id="cut jpeg"),
        pytest.param(png_header_of(50, 50), id="less data than it says"),
        pytest.param(RED[:50] + b"\xff" * 20 + RED[70:], id="damaged"),
    ],
)
def test_what_is_no_readable_image_is_invalid(data: bytes):
    with pytest.raises(ImageInvalidError):
        decoded(data, max_pixels=10_000)


def gradient() -> Image.Image:
    return Image.linear_gradient("L").resize((16, 16))


@pytest.mark.parametrize(
    ("image", "image_format"),
    [
        pytest.param(gradient().convert("RGB"), "PNG", id="rgb"),
        pytest.param(gradient().convert("RGB"), "WEBP", id="webp"),
        pytest.param(gradient(), "JPEG", id="grey jpeg"),
        pytest.param(gradient().convert("CMYK"), "JPEG", id="cmyk"),
        pytest.param(gradient().convert("1"), "PNG", id="one bit"),
        pytest.param(gradient().convert("P"), "PNG", id="palette"),
        pytest.param(gradient().convert("LA"), "PNG", id="grey and alpha"),
        pytest.param(gradient().convert("RGBA"), "PNG", id="rgba"),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, image_format: str):
    result = decoded(encoded(image, image_format), max_pixels=10_000)
    assert (result.mode, result.size) == ("RGB", (16, 16))


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    image = Image.new("I;16", (4, 4), 257 * 100)
    assert decoded(encoded(image), max_pixels=100).getpixel((0, 0)) == (100, 100, 100)


def test_transparent_becomes_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decoded(encoded(clear), max_pixels=100).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_transparency_becomes_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0] + [0, 0, 0] * 255)
    data = encoded(image, transparency=0)
    assert decoded(data, max_pixels=100).getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (20, 10), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 9, 9), fill="black")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = decoded(encoded(image, "JPEG", exif=exif), max_pixels=1_000)
    assert turned.size == (10, 20)
    assert turned.getpixel((5, 2))[0] < 50
    assert turned.getpixel((5, 17))[0] > 200
