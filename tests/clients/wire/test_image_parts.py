import io
import struct
import zlib

import pytest
from PIL import Image

from align2llava.clients.wire.decoding import BrokenImageError, opened, rgb_draft, rgb_image
from align2llava.clients.wire.image_parts import (
    MAX_BLOCKS,
    MAX_CHUNKS,
    MAX_MARKERS,
    MAX_RUN_BYTES,
    MAX_SCANS,
    used_parts,
)


def encoded(image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (32, 24)).save(buffer, image_format, **options)
    return buffer.getvalue()


JPEG = encoded("JPEG")


def jpeg_of(num_scans: int) -> bytes:
    data = encoded("JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    more = num_scans - data.count(b"\xff\xda")
    return data[:-2] + data[last:-2] * more + b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*segments: bytes) -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(more: bytes) -> bytes:
    data = encoded("PNG")
    return data[:33] + more + data[33:]


def gif_with(more: bytes) -> bytes:
    data = encoded("GIF")
    frame = 13 + (6 << (data[10] & 7))
    return data[:frame] + more + data[frame:]


def bmp_of_runs(num_bytes: int) -> bytes:
    data = bytearray(encoded("BMP"))
    data[30:34] = struct.pack("<I", 1)
    return bytes(data) + bytes(num_bytes)


TOO_MUCH = {
    "scans": jpeg_of(MAX_SCANS + 1),
    "markers": jpeg_with(segment(0xFE, b"") * MAX_MARKERS),
    "chunks": png_with(chunk(b"teSt", b"") * MAX_CHUNKS),
    "empty data": png_with(chunk(b"IDAT", b"") * MAX_CHUNKS),
    "blocks": gif_with(b"!\xfe\1x\0" * MAX_BLOCKS),
    "small blocks": gif_with(b"!\xfe" + b"\1x" * MAX_BLOCKS + b"\0"),
    "runs": bmp_of_runs(MAX_RUN_BYTES),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_many_parts_are_refused_alike_by_header_check_decoder_and_draft(name: str):
    for read in (opened, rgb_image, lambda data, **to: rgb_draft(data, min_side=9, **to)):
        with pytest.raises(BrokenImageError, match="limit"):
            read(TOO_MUCH[name], max_pixels=10_000)


def test_as_many_scans_as_the_limit_are_read():
    assert rgb_image(jpeg_of(MAX_SCANS), max_pixels=10_000).size == (32, 24)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg_with(segment(0xE1, b"\xff\xda" * 999)), id="in a segment"),
        pytest.param(JPEG + b"\xff\xda" * 999, id="behind the end"),
        pytest.param(JPEG[:-2] + b"\xff\0\xda" * 999 + b"\xff\xd9", id="stuffed in a scan"),
    ],
)
def test_what_looks_like_a_scan_is_none(data: bytes):
    assert rgb_image(data, max_pixels=10_000).size == (32, 24)


BOMB = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**20)))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(png_with(BOMB * 500), len(encoded("PNG")), id="profiles of a PNG"),
        pytest.param(jpeg_with(segment(0xED, bytes(9_000)) * 9), len(JPEG), id="Photoshop's"),
        pytest.param(gif_with(b"!\xfe\1x\0" * 900), len(encoded("GIF")), id="comments of a GIF"),
        pytest.param(jpeg_with(b"\xff" * 99_999), len(JPEG), id="fill bytes"),
    ],
)
def test_what_is_never_looked_at_reaches_no_decoder(data: bytes, size: int):
    assert len(used_parts(data).with_turn()) == size


def test_exif_is_taken_from_its_first_segment_only():
    exif = segment(0xE1, b"Exif\0\0II*\0")
    assert used_parts(jpeg_with(exif * 9)).with_turn() == jpeg_with(exif)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(chunk(b"tEXt", b"k\0v")[:-1] + b"?", id="text with another checksum"),
        pytest.param(chunk(b"zTXt", b"k\0\7v"), id="text in an unknown compression"),
        pytest.param(chunk(b"iCCP", b"k\0\7v"), id="profile in an unknown compression"),
        pytest.param(chunk(b"pHYs", b"v"), id="cut size"),
    ],
)
def test_broken_metadata_of_a_png_costs_no_pixel(more: bytes):
    assert rgb_image(png_with(more), max_pixels=10_000).size == (32, 24)


def test_whole_image_is_not_copied():
    data = encoded("PNG")
    assert used_parts(data).with_turn() is data
