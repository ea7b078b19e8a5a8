"""Small copies of images for the report, as data URIs: bounded in pixels, bytes and decoding."""

import base64
import io
from dataclasses import dataclass

from PIL import WebPImagePlugin

from align2llava.clients.wire.decoding import ImageDataError, rgb_draft

MAX_SIDE = 256  # pixels
MAX_SOURCE_PIXELS = 50_000_000
QUALITY = 82
LOSSLESS_SIDE = 128  # pixels
_FORMAT = (
    WebPImagePlugin.WebPImageFile.format
)  # by name alone, Pillow would import every format to save one


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """An image small enough to stand in the page."""

    uri: str
    width: int
    height: int


def thumbnail(data: bytes) -> Thumbnail | None:
    """Returns a WebP copy of at most `MAX_SIDE` pixels a side, or None where it cannot be decoded.

    Never enlarges. Transparent pixels become white; an image above `MAX_SOURCE_PIXELS` is not
    decoded at all.
    """
    try:
        small = rgb_draft(data, max_pixels=MAX_SOURCE_PIXELS, min_side=MAX_SIDE)
    except ImageDataError:
        return None  # the page says "no image"
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    # Small images are drawings as often as not, and would show the codec's blocks when enlarged.
    small.save(buffer, _FORMAT, quality=QUALITY, lossless=max(small.size) <= LOSSLESS_SIDE)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(
        uri=f"data:image/webp;base64,{encoded}", width=small.width, height=small.height
    )
