"""Images on disk: found under their root only, looked at by their header, hashed. Decodes no pixels."""

import hashlib
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.curation.layout import DriverCode
from pipeline.curation.records import Fault

FORMATS = ("JPEG", "PNG", "WEBP")  # what the services decode


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImage:
    """An image file under the root, and the sha256 of its bytes in hex."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What is `too_large`."""

    max_bytes: int
    max_pixels: int


def find_image(name: str, *, root: Path) -> Path | Fault:
    """Returns the file that a record names, or `image_missing`.

    No name leaves `root`: not by .., not as an absolute path, not through a link.
    """
    try:
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(root.resolve()):
            return _missing(name, "lies outside of images_root")
        if not stat.S_ISREG(path.stat().st_mode):
            return _missing(name, "is no file")
    except (OSError, ValueError, RuntimeError) as error:
        return _missing(name, getattr(error, "strerror", None) or "is no path")
    return path


def look_at(path: Path, *, limits: ImageLimits) -> tuple[str | None, Fault | None]:
    """Returns the sha256 of an image file, and what is wrong with it by size and header.

    The hash is None where the file cannot be read.
    """
    try:
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return None, _missing(path.name, error.strerror or "cannot be read")
    if num_bytes > limits.max_bytes:
        message = f"image {path.name} has {num_bytes} bytes; the limit is {limits.max_bytes}"
        return sha256, Fault(code=DriverCode.TOO_LARGE, message=message)
    return sha256, _header_fault(path, limits.max_pixels)


def _header_fault(path: Path, max_pixels: int) -> Fault | None:
    try:
        with warnings.catch_warnings():
            # Pillow's own limit is only a warning; ours is below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                num_pixels = image.width * image.height
    except Image.DecompressionBombError:
        message = f"image {path.name} has far more than {max_pixels} pixels"
        return Fault(code=DriverCode.TOO_LARGE, message=message)
    except UnidentifiedImageError:
        message = f"image {path.name} is none of {', '.join(FORMATS)}"
        return Fault(code=DriverCode.IMAGE_INVALID, message=message)
    except (OSError, ValueError, SyntaxError) as error:
        message = f"image {path.name} has a broken header: {error}"
        return Fault(code=DriverCode.IMAGE_INVALID, message=message)
    if num_pixels > max_pixels:
        message = f"image {path.name} has {num_pixels} pixels; the limit is {max_pixels}"
        return Fault(code=DriverCode.TOO_LARGE, message=message)
    return None


def _missing(name: str, why: str) -> Fault:
    return Fault(code=DriverCode.IMAGE_MISSING, message=f"image {name!r:.200}: {why}")
