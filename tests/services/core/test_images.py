import asyncio
import hashlib
import io
import struct
import threading
import zlib

import pytest
from PIL import Image

from align2llava.clients.wire import schemas
from align2llava.services.core import images
from align2llava.services.core.images import ImageLimits, ImageStore, decoded
from align2llava.services.errors import ImageInvalidError, ImageNeededError, TooLargeError
from tests.services.in_process import until

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
    held = store(max_cache_bytes=6_000)  # two of the three images of 2,848 bytes
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


async def test_cache_of_tiny_images_has_a_bound_too():
    held = store(max_cache_bytes=100 * 2_052)  # each has one pixel, and what is beside it
    images = [encoded(Image.new("RGB", (1, 1), (number, 0, 0))) for number in range(101)]
    for image in images:
        await held.resolve(wire(image))
    await held.resolve(by_hash(images[1]))
    with pytest.raises(ImageNeededError):
        await held.resolve(by_hash(images[0]))


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


async def test_store_is_stuck_while_every_thread_holds_an_image_that_had_its_time(
    monkeypatch: pytest.MonkeyPatch,
):
    release = threading.Event()
    monkeypatch.setattr(images, "checked_and_decoded", lambda *_, **__: release.wait(20))
    held = store(ImageLimits(max_bytes=1_000, max_pixels=1_000, max_decode_ms=10))
    with pytest.raises(ImageInvalidError):
        await held.resolve(wire(RED))
    assert not held.is_stuck  # the other thread is free
    with pytest.raises(ImageInvalidError):
        await held.resolve(wire(RED))
    await until(lambda: held.is_stuck)
    release.set()
    await until(lambda: not held.is_stuck)


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
        pytest.param(encoded(Image.new("RGB", (9, 9)), "TIFF"), id="another format"),
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


async def test_every_message_names_the_image_and_shows_no_python_object():
    for data in (encoded(Image.new("RGB", (9, 9)), "TIFF"), b"text", RED[:40]):
        with pytest.raises(ImageInvalidError) as caught:
            await store().resolve(wire(data))
        assert str(caught.value).startswith(f"image {hashlib.sha256(data).hexdigest()} ")
        assert "object at" not in str(caught.value)
