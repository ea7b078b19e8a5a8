"""Images of preferences on disk, read by the decoder of serving. Knows no groups."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from numpy import float32
from numpy.typing import NDArray

from align2llava.clients.wire.decoding import ImageDataError, opened, rgb_image
from align2llava.pipeline.errors import InputError
from align2llava.services.reward_model.pixels import PixelSettings, pixels_CHW


def image_pixels(
    path: Path, settings: PixelSettings, *, max_pixels: int, max_bytes: int
) -> NDArray[float32]:
    """Returns an image's normalised pixels, [C, H, W]: those that the services see.

    Raises:
        InputError: the file is missing, no image that is read, or over a limit.
    """
    with _named(path):
        image = rgb_image(_bytes(path, max_bytes), max_pixels=max_pixels)
    return pixels_CHW(image, settings)


def check_image(path: Path, *, max_pixels: int, max_bytes: int) -> None:
    """Reads an image's header and decodes no pixel.

    Raises:
        InputError: as `image_pixels`, but for damage behind the header.
    """
    with _named(path):
        opened(_bytes(path, max_bytes), max_pixels=max_pixels)


@contextmanager
def _named(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"the image: {error.strerror}", path=path) from error
    except ImageDataError as error:
        raise InputError(f"the image {error}", path=path) from error


def _bytes(path: Path, max_bytes: int) -> bytes:
    if not path.is_file():  # a pipe would be waited for
        raise InputError("is no file" if path.exists() else "no such image", path=path)
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InputError(f"the image has more than {max_bytes} bytes, the limit", path=path)
    return data
