"""The target of images: the driver's look, the report's thumbnail and the services' decoding of one file."""

import io
import random
import struct
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from align2llava.pipeline.curation.input.images import ImageLimits, look_at
from align2llava.pipeline.curation.report.thumbnails import thumbnail
from align2llava.services.core.images import decoded
from align2llava.services.errors import ServiceError
from tests.fuzz.campaign import Target
from tests.fuzz.files import one_file
from tests.fuzz.mutator import Grammar, Seed

_IMAGE_GRAMMARS: dict[str, Grammar] = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg"}
_LIMITS = ImageLimits(max_bytes=2**20, max_pixels=1_000_000)


def _read_image(path: Path) -> None:
    look_at(path, limits=_LIMITS)
    thumbnail(path.read_bytes())
    decoded(path.read_bytes(), max_pixels=_LIMITS.max_pixels)


def image_seeds() -> list[Seed]:
    image = Image.frombytes("RGB", (24, 16), random.Random(0).randbytes(24 * 16 * 3))
    turn: dict[str, object] = {"exif": _exif(6)}
    text = PngInfo()
    text.add_text("Comment", "a" * 99, zip=True)
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>', zip=True)
    saved: list[tuple[str, Image.Image, dict[str, object]]] = [
        *((kind, image, {}) for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF", "PNG")),
        *((kind, image, turn) for kind in ("JPEG", "WEBP", "PNG")),
        ("JPEG", image, {**turn, "progressive": True, "comment": b"a", "xmp": b"<x/>"}),
        ("JPEG", image.convert("CMYK"), {"icc_profile": b"p" * 99, "restart_marker_blocks": 1}),
        ("MPO", image, {"save_all": True, "append_images": [image]}),
        ("PNG", image, {**turn, "icc_profile": b"p" * 99, "dpi": (72, 72), "pnginfo": text}),
        ("GIF", image.convert("P"), {"transparency": 3, "comment": b"a" * 300}),
        ("WEBP", image, {"lossless": True, "icc_profile": b"p" * 99, "xmp": b"<x/>"}),
        *(
            (kind, image, {"save_all": True, "append_images": [image.convert("L")], "duration": 9})
            for kind in ("GIF", "PNG", "WEBP")
        ),
        *(
            ("PNG", image.convert("L").convert(m), {})
            for m in ("L", "1", "P", "RGBA", "I;16", "LA")
        ),
        *(("BMP", image.convert("L").convert(m), {}) for m in ("L", "1", "P", "RGBA")),
    ]
    seeds: list[Seed] = []
    for kind, one, options in saved:
        buffer = io.BytesIO()
        one.save(buffer, kind, **options)
        seeds.append(Seed(body=buffer.getvalue(), grammar=_IMAGE_GRAMMARS.get(kind, "bytes")))
    return [*seeds, Seed(body=_bmp_in_runs(), grammar="bytes")]


def _bmp_in_runs() -> bytes:
    runs = b"\4\1\0\0\4\2\0\0\0\2\1\1\2\3\0\1"
    palette = bytes(1024)
    start = 54 + len(palette)
    file = struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start)
    header = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return file + header + palette + runs


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


TARGETS = (
    Target(
        name="image bytes",
        seeds=image_seeds,
        opened=one_file("a.png", _read_image),
        typed=(ServiceError,),
        num_inputs=80_000,
    ),
)
