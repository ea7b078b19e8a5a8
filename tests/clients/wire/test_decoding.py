import io
import struct
import zlib
from random import Random

import pytest
from PIL import Image, ImageDraw

from align2llava.clients.wire.decoding import (
    FORMATS,
    MAX_EXIF_ENTRIES,
    BrokenImageError,
    LargeImageError,
    opened,
    rgb_draft,
    rgb_image,
)


def encoded(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    return buffer.getvalue()


def decoded(data: bytes, *, max_pixels: int = 10_000) -> Image.Image:
    return rgb_image(data, max_pixels=max_pixels)


def rgb_at(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    pixel = image.getpixel(place)
    assert isinstance(pixel, tuple)
    return pixel


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_is_told_by_its_bytes(image_format: str):
    image = decoded(encoded(Image.new("RGB", (8, 6), "red"), image_format))
    assert (image.mode, image.size) == ("RGB", (8, 6))
    red, green, blue = rgb_at(image, (3, 3))
    assert red > 250
    assert max(green, blue) < 5


OTHERS = {
    "a TIFF": encoded(Image.new("RGB", (4, 4)), "TIFF"),
    "a PDF": b"%PDF-1.7\n",
    "an AVIF": b"\0\0\0\x20ftypavif\0\0\0\0",
    "a HEIC": b"\0\0\0\x20ftypheic\0\0\0\0",
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "an HTML page": b"\n<!DOCTYPE html><title>404</title>",
    "a pointer of Git LFS, whose file was never fetched": b"version https://git-lfs.github.com/spec/v1\n",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_format_is_refused_by_its_name(kind: str):
    with pytest.raises(BrokenImageError) as caught:
        opened(OTHERS[kind], max_pixels=100)
    assert str(caught.value) == f"is {kind}; PNG, JPEG, WebP, GIF and BMP are read"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"text", "is no image that is known here; PNG, JPEG, WebP, GIF and BMP are read"),
        (b"GIF89a", "has a broken header"),
    ],
    ids=["empty", "text", "header"],
)
def test_what_is_no_image_says_why(data: bytes, message: str):
    with pytest.raises(BrokenImageError) as caught:
        opened(data, max_pixels=100)
    assert str(caught.value) == message


def test_header_alone_is_opened_and_its_damage_found_when_it_is_decoded():
    cut = encoded(Image.effect_noise((90, 90), 50))[:-200]
    assert opened(cut, max_pixels=10_000).size == (90, 90)
    with pytest.raises(BrokenImageError, match="is damaged: image file is truncated"):
        decoded(cut)


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [101, 8_000, 60_000])
def test_too_many_pixels_are_refused_by_the_header(side: int):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    with pytest.raises(LargeImageError, match="the limit is 10000"):
        opened(png_of((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")), max_pixels=10_000)


def test_gif_whose_frame_is_larger_than_its_screen_is_measured_by_the_frame():
    data = bytearray(encoded(Image.new("P", (200, 200)), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    with pytest.raises(LargeImageError, match="200 x 200"):
        opened(bytes(data), max_pixels=10_000)


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
    assert rgb_at(turned, (5, 2))[0] < 50
    assert rgb_at(turned, (5, 17))[0] > 200


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(image_format: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], duration=9)
    red, green, blue = rgb_at(decoded(data), (4, 4))
    assert red > 240
    assert max(green, blue) < 10


BROKEN_EXIF = {
    "no TIFF header": b"Exif\0\0" + b"\xff" * 40,
    "no directory": b"Exif\0\0MM\0*",
    "directory beyond its end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "cut in an entry": b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01\x03\0",
    "strange orientation": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
    "orientation of another type": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\x00\0\0\0\0\0\0\0",
    "empty": b"Exif\0\0",
}


@pytest.mark.parametrize("name", BROKEN_EXIF)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_costs_nothing_but_the_turn(name: str, image_format: str):
    image = Image.new("RGB", (20, 10), "red")
    data = encoded(image, image_format, exif=BROKEN_EXIF[name])
    assert decoded(data).size == (20, 10)


def exif_of(num_entries: int, *, orientation: int) -> bytes:
    tags = [(0x0112, 3, orientation), *((0x9000 + n, 4, n) for n in range(num_entries - 1))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", num_entries) + entries + bytes(4)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_turn_is_not_looked_for_in_endless_exif(image_format: str):
    image = Image.new("RGB", (20, 10), "red")
    sizes = [
        decoded(encoded(image, image_format, exif=exif_of(number, orientation=6))).size
        for number in (MAX_EXIF_ENTRIES, MAX_EXIF_ENTRIES + 1)
    ]
    assert sizes == [(10, 20), (20, 10)]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_pixels_are_kept_without_the_metadata_beside_them(image_format: str):
    image = Image.new("RGB", (20, 10), "red")
    kept = decoded(encoded(image, image_format, exif=exif_of(900, orientation=1), dpi=(72, 72)))
    assert not kept.info


def test_draft_is_small_where_the_format_can_and_whole_where_not():
    image = Image.new("RGB", (800, 400), "red")
    draft = rgb_draft(encoded(image, "JPEG"), max_pixels=10**6, min_side=100)
    assert draft.size == (200, 100)  # a JPEG is halved; the next step would be too small
    whole = rgb_draft(encoded(image), max_pixels=10**6, min_side=100)
    assert whole.size == (800, 400)


def test_damaged_images_are_read_or_refused_and_nothing_else():
    rng = Random(0)
    picture = Image.effect_noise((40, 30), 80).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    wholes = [encoded(picture, one) for one in FORMATS]
    wholes += [encoded(picture, one, exif=exif) for one in ("JPEG", "PNG", "WEBP")]
    num_refused = 0
    for _ in range(500):
        data = bytearray(rng.choice(wholes))
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(rng.choice([64, len(data)]))] = rng.randrange(256)
        try:
            decoded(bytes(data))
        except (BrokenImageError, LargeImageError) as error:
            num_refused += "object at" not in str(error)
    assert 100 < num_refused < 500
