"""Images on disk: found below their roots only, looked at by their header, hashed. Decodes no pixels."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from align2llava.clients.wire.decoding import ImageDataError, LargeImageError, opened
from align2llava.pipeline.curation.faults import DriverCode, Fault
from align2llava.pipeline.curation.input.rows import ImageRef
from align2llava.pipeline.image_files import image_bytes

MAX_FOLDERS = 4096  # resolved, and remembered so


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What is `too_large`."""

    max_bytes: int
    max_pixels: int


def find_image(name: str, *, root: Path, link_roots: Sequence[Path]) -> Path | Fault:
    """Returns the file that a record names, or `image_missing`.

    No name leaves `root` by .. or as an absolute path, and no link leads anywhere but below `root` or one
    of `link_roots`.
    """
    try:
        path = _resolved(name, root)
        if not _is_within(path, _real(str(root))):
            fault = _outside(name, path, root=root, link_roots=link_roots)
            if fault is not None:
                return fault
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return _missing(name, "is no file")
    except (OSError, ValueError, RuntimeError) as error:
        return _missing(name, getattr(error, "strerror", None) or "is no path")
    return Path(path)


def look_at(path: Path, *, limits: ImageLimits) -> tuple[ImageRef | None, Fault | None]:
    """Returns an image file with its hash, and what is wrong with it by size and header.

    None where the file cannot be read, or is too large to be.
    """
    try:
        data = image_bytes(path, max_bytes=limits.max_bytes)
    except OSError as error:
        return None, _missing(path.name, error.strerror or "cannot be read")
    except ImageDataError as error:
        return None, _fault(path, error)
    found = ImageRef(path=path, sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data))
    try:
        opened(data, max_pixels=limits.max_pixels)
    except ImageDataError as error:
        return found, _fault(path, error)
    return found, None


def _resolved(name: str, root: Path) -> str:
    # The functions of os.path: pathlib's take several times as long. Folders are few: each is
    # resolved once, and of its files only the last step is looked at.
    folder, last = os.path.split(os.path.join(root, name))  # noqa: PTH118
    path = os.path.join(_real(folder), last)  # noqa: PTH118
    if last in ("", os.curdir, os.pardir) or stat.S_ISLNK(os.lstat(path).st_mode):
        return os.path.realpath(path, strict=True)
    return path


@lru_cache(MAX_FOLDERS)
def _real(folder: str) -> str:
    return os.path.realpath(folder, strict=True)


def _outside(name: str, path: str, *, root: Path, link_roots: Sequence[Path]) -> Fault | None:
    """Returns why a file outside of `root` is not taken, None where a link may lead there."""
    written = os.path.normpath(os.path.join(root, name))  # noqa: PTH118
    if not _is_within(written, os.path.normpath(root)):
        return _missing(name, "lies outside of images_root")
    if any(_is_within(path, os.path.realpath(allowed)) for allowed in link_roots):
        return None
    return _missing(name, f"a link leads out of images_root, to {path:.200}; see input.link_roots")


def _is_within(path: str, root: str) -> bool:
    return path.startswith(root if root.endswith(os.sep) else root + os.sep)


def _fault(path: Path, error: ImageDataError) -> Fault:
    is_large = isinstance(error, LargeImageError)
    code = DriverCode.TOO_LARGE if is_large else DriverCode.IMAGE_INVALID
    return Fault(code=code, message=f"image {path.name} {error}")


def _missing(name: str, why: str) -> Fault:
    return Fault(code=DriverCode.IMAGE_MISSING, message=f"image {name!r:.200}: {why}")
