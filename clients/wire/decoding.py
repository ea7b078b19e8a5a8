"""What the bytes of an image mean, wherever they are read: which formats, how large, which RGB pixels.

ImageDataError
  +-- BrokenImageError    no image of `FORMATS`, damaged, cut off, or in more parts than are read
  +-- LargeImageError     more pixels than the limit, told by the header, or more bytes

One decoder for services, training and driver, so that all three agree. The first frame is read, turned as EXIF
says, without alpha (composed on white), 16 bits scaled to 8. Metadata that cannot be read costs nothing but itself.
Knows no file, no request, no model.
"""

import io
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from PIL import ExifTags, Image, UnidentifiedImageError

from align2llava.clients.wire.image_parts import PartsError, used_parts
from align2llava.clients.wire.wording import one_line

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 16_000_000
"""Width times height of one image, where nothing else is set."""
MAX_IMAGE_BYTES = 16 * 2**20
"""Encoded bytes of one image, where nothing else is set."""
MAX_EXIF_BYTES = 2**20
"""Beyond it the turn is not looked for: a value of a million numbers is a second of work."""
MAX_EXIF_ENTRIES = 1_000
"""As well: cameras write some 50, and Pillow makes objects of each before one can ask for the turn."""

_READ = "PNG, JPEG, WebP, GIF and BMP are read"
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM")
_OTHERS = {
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"II+\0": "a TIFF",
    b"MM\0+": "a TIFF",
    b"%PDF": "a PDF",
    b"%!PS": "PostScript",
    b"8BPS": "a Photoshop file",
    b"\0\0\1\0": "an icon",
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"\0\0\0\x0cJXL ": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"version https://git-lfs": "a pointer of Git LFS, whose file was never fetched",
    b"<svg": "an SVG",
    b"<?xml": "XML",
    b"<html": "an HTML page",
    b"<!doctype html": "an HTML page",
}
_BRANDS = {b"avif": "an AVIF", b"avis": "an AVIF", b"heic": "a HEIC", b"heix": "a HEIC"}
_SNIFFED_BYTES = 64

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_SIXTEEN_TO_EIGHT_BIT = 1 / 257  # 65535 becomes 255
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageDataError(Exception):
    """Base of both; the message goes on after the image's name: `is a TIFF; ...`."""


class BrokenImageError(ImageDataError):
    """The bytes are no image that is read here, a damaged one, or one in too many parts."""


class LargeImageError(ImageDataError):
    """More bytes than the limit, or a header that tells more pixels."""


def opened(data: bytes, *, max_pixels: int) -> Image.Image:
    """Returns an image whose header was read; nothing is decoded.

    Raises:
        BrokenImageError: none of `FORMATS`, a broken header, or more parts than are read.
        LargeImageError: width times height is over `max_pixels`.
    """
    return _with_or_without_turn(data, lambda read: _opened(read, max_pixels))


def rgb_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """Returns an encoded image in RGB.

    Raises:
        ImageDataError: as `opened`, or the data behind the header is damaged or cut off.
    """

    def decode(read: bytes) -> Image.Image:
        image = _opened(read, max_pixels)
        with _pillow_errors_named(read, max_pixels=max_pixels):
            return _rgb(_upright(image))

    return _with_or_without_turn(data, decode)


def rgb_draft(data: bytes, *, max_pixels: int, min_side: int) -> Image.Image:
    """Returns an encoded image in RGB, at a part of its size where its format can, no smaller than `min_side`.

    Raises:
        ImageDataError: as `rgb_image`.
    """

    def decode(read: bytes) -> Image.Image:
        image = _opened(read, max_pixels)
        with _pillow_errors_named(read, max_pixels=max_pixels):
            image.draft("RGB", (min_side, min_side))
            return _rgb(_upright(image))

    return _with_or_without_turn(data, decode)


def _with_or_without_turn(data: bytes, decode: Callable[[bytes], Image.Image]) -> Image.Image:
    """Returns an image as its metadata turns it, or as it lies where only its metadata is broken."""
    try:
        parts = used_parts(data)
    except PartsError as error:
        raise BrokenImageError(str(error)) from error
    try:
        return decode(parts.with_turn())
    except BrokenImageError:
        bare = parts.bare()
        if bare is not None:
            with suppress(BrokenImageError):
                return decode(bare)
        raise


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    with _pillow_errors_named(data, max_pixels=max_pixels):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    num_pixels = image.width * image.height
    if num_pixels > max_pixels:
        raise LargeImageError(
            f"is {image.width} x {image.height} = {num_pixels} pixels; the limit is {max_pixels}"
        )
    return image


@contextmanager
def _pillow_errors_named(data: bytes, *, max_pixels: int) -> Generator[None]:
    try:
        with warnings.catch_warnings():
            # Pillow warns of many pixels, for which the limit here stands, and of broken EXIF.
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise LargeImageError(f"has far more pixels; the limit is {max_pixels}") from error
    except UnidentifiedImageError as error:  # its message shows a Python object
        raise BrokenImageError(_kind_of(data)) from error
    except Exception as error:
        # Which errors damaged data ends in, no reader of Pillow's says, and each list of them was too short.
        raise BrokenImageError(f"is damaged: {one_line(error)}") from error


def _kind_of(data: bytes) -> str:
    """Returns what bytes are that no reader took, for a message."""
    if not data:
        return "is empty"
    start = data[:_SNIFFED_BYTES].lstrip().lower()
    for magic, kind in _OTHERS.items():
        if data.startswith(magic) or (magic.isascii() and start.startswith(magic)):
            return f"is {kind}; {_READ}"
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS:
        return f"is {_BRANDS[data[8:12]]}; {_READ}"
    if data.startswith(_STARTS):
        return "has a broken header"
    return f"is no image that is known here; {_READ}"


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    exif: bytes = image.info.get("exif", b"")
    if len(exif) > MAX_EXIF_BYTES or _num_entries(exif) > MAX_EXIF_ENTRIES:
        return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  (as above)
        return None  # broken EXIF costs the image nothing but its turn


def _num_entries(exif: bytes) -> int:
    """Returns how many entries the first directory of EXIF states to have."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = "little" if tiff.startswith(b"II") else "big"
    start = int.from_bytes(tiff[4:8], order)
    return int.from_bytes(tiff[start : start + 2], order)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        # Pillow's own conversion to 8 bits clips instead of scaling.
        image = image.convert("I").point(lambda value: value * _SIXTEEN_TO_EIGHT_BIT).convert("L")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(white, layer)
    rgb = image.convert("RGB")
    rgb.info.clear()  # metadata: up to a megabyte beside a few pixels, wherever images are kept
    return rgb
