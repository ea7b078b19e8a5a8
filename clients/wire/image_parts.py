"""The parts that image files are made of (markers, chunks, blocks): counted, and kept where pixels or the turn need them.

A file's bytes and pixels are bounded elsewhere. Here is bounded what costs time for next to no bytes: scans, each
of which is a pass over all pixels, and parts that Pillow reads one by one in Python. Decodes nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_SCANS = 100
"""Of a JPEG, as `djpeg -maxscans` is advised; encoders write up to 20. With the pixels' limit it bounds their product."""
MAX_MARKERS = 1_000
"""Of a JPEG. 16 MiB of XMP and a colour profile are 500."""
MAX_CHUNKS = 2**14
"""Of a PNG: 16 MiB in the smallest chunks that encoders write, 1 KiB."""
MAX_BLOCKS = 2**16
"""Of a GIF, before its first frame: as many as 16 MiB of comments have."""
MAX_RUN_BYTES = 2**22
"""Of a BMP in runs, which Pillow decodes in Python: a second of work."""

# A marker, or bytes of a scan that end it: not stuffed, no fill, no restart.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_SCAN, _END_OF_IMAGE, _EXIF_OR_XMP, _COMMENT = 0xDA, 0xD9, 0xE1, 0xFE
_WITH_LENGTH = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xF0), _COMMENT}) - {0xC8}
# APP0 and APP14 say which colours the components are.
_JPEG_UNUSED = frozenset({*range(0xE1, 0xF0), _COMMENT}) - {0xEE}
_PNG_ANCILLARY = 0x20  # of the first letter of a chunk's name
_PNG_TURNS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_GIF_CONTROL = re.compile(rb"!\xf9\x04.{4}\x00", re.DOTALL)
_BMP_RUNS = (1, 2)


class PartsError(Exception):
    """More parts than an image may have; the message goes on after the image's name."""


class _Part(NamedTuple):
    start: int
    end: int
    tells_turn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedParts:
    """The parts of an image that are looked at, in their order."""

    data: bytes
    parts: Sequence[_Part]

    def with_turn(self) -> bytes:
        """Returns the image without what is never looked at (profiles, comments, later frames)."""
        return _joined(self.data, self.parts)

    def bare(self) -> bytes | None:
        """Returns the image also without what tells the turn (EXIF, XMP), None where nothing does."""
        parts = [part for part in self.parts if not part.tells_turn]
        return None if len(parts) == len(self.parts) else _joined(self.data, parts)


def used_parts(data: bytes) -> UsedParts:
    """Returns what a decoder needs of an image; all of it where its format has no parts to leave out.

    Raises:
        PartsError: more parts than can be read in the time that its bytes and pixels allow.
    """
    if data.startswith(b"\xff\xd8\xff"):
        parts = _jpeg_parts(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        parts = _png_parts(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        parts = _gif_parts(data)
    else:
        _check_runs(data)
        parts = [_Part(0, len(data))]
    return UsedParts(data=data, parts=list(parts))


def _joined(data: bytes, parts: Sequence[_Part]) -> bytes:
    # Parts never overlap, and one may claim more bytes than there are.
    if sum(max(0, min(part.end, len(data)) - part.start) for part in parts) == len(data):
        return data  # most often, and then nothing is copied
    return b"".join(data[part.start : part.end] for part in parts)


def _jpeg_parts(data: bytes) -> Iterator[_Part]:
    yield _Part(0, 2)
    at, has_exif = 2, False
    for _ in range(MAX_MARKERS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        start = found.start()
        code, at = data[start + 1], _behind(data, start)
        is_exif = code == _EXIF_OR_XMP and data.startswith(b"Exif\0\0", start + 4)
        if code == _SCAN:
            _check_scans(data, start)
            yield _Part(start, len(data))
            return
        # Exif that goes on in a second segment would be copied whole for each; the turn is in the first.
        if code == _EXIF_OR_XMP and not (is_exif and has_exif):
            yield _Part(start, at, tells_turn=True)
        elif code not in _JPEG_UNUSED:
            yield _Part(start, at)
        has_exif = has_exif or is_exif
    raise PartsError(f"has over {MAX_MARKERS} markers, the limit")


def _check_scans(data: bytes, at: int) -> None:
    num_scans = 0
    for _ in range(MAX_MARKERS):
        found = _MARKER.search(data, at)
        if found is None or data[found.start() + 1] == _END_OF_IMAGE:
            return
        num_scans += data[found.start() + 1] == _SCAN
        if num_scans > MAX_SCANS:
            raise PartsError(f"has over {MAX_SCANS} scans, the limit")
        at = _behind(data, found.start())
    raise PartsError(f"has over {MAX_MARKERS} markers, the limit")


def _behind(data: bytes, marker: int) -> int:
    if data[marker + 1] not in _WITH_LENGTH:
        return marker + 2
    return marker + 2 + max(2, int.from_bytes(data[marker + 2 : marker + 4], "big"))


def _png_parts(data: bytes) -> Iterator[_Part]:
    yield _Part(0, 8)
    at = 8
    for _ in range(MAX_CHUNKS):
        name = data[at + 4 : at + 8]
        if not name:
            return
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if name in _PNG_TURNS:
            yield _Part(at, end, tells_turn=True)
        elif not name[0] & _PNG_ANCILLARY or name == b"tRNS":
            yield _Part(at, end)
        if name == b"IEND":
            return
        at = end
    raise PartsError(f"has over {MAX_CHUNKS} chunks, the limit")


def _gif_parts(data: bytes) -> Iterator[_Part]:
    at = 13 + (6 << (data[10] & 7) if data[10:11] >= b"\x80" else 0)
    yield _Part(0, at)
    num_left = MAX_BLOCKS
    while data[at : at + 1] not in {b"", b";", b","}:
        start = at
        is_extension = data[at] == ord("!")  # else a stray byte
        at += 2 if is_extension else 1
        num_left -= 1
        while is_extension and num_left > 0 and at < len(data) and data[at]:
            at += 1 + data[at]
            num_left -= 1
        if num_left <= 0:
            raise PartsError(f"has over {MAX_BLOCKS} blocks before its first frame, the limit")
        at += is_extension
        if _GIF_CONTROL.fullmatch(data, start, at):  # which colour is transparent
            yield _Part(start, at)
    yield _Part(at, len(data))


def _check_runs(data: bytes) -> None:
    has_runs = data.startswith(b"BM") and int.from_bytes(data[30:34], "little") in _BMP_RUNS
    if has_runs and len(data) > MAX_RUN_BYTES:
        raise PartsError(f"is {len(data)} bytes of runs; the limit is {MAX_RUN_BYTES}")
