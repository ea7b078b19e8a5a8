"""Images of preferences on disk, read by the decoder of serving. Knows no groups."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from numpy import float32
from numpy.typing import NDArray

from align2llava.clients.wire.decoding import ImageDataError, opened, rgb_image
from align2llava.pipeline.errors import InputError
from align2llava.pipeline.image_files import image_bytes
from align2llava.services.reward_model.tokens.pixels import PixelSettings, pixels_CHW


def image_pixels(
    path: Path, settings: PixelSettings, *, max_pixels: int, max_bytes: int
) -> NDArray[float32]:
    """Returns an image's normalised pixels, [C, H, W]: those that the services see.

    Raises:
        InputError: the file is missing, no image that is read, or over a limit.
    """
    with _named(path):
        image = rgb_image(image_bytes(path, max_bytes=max_bytes), max_pixels=max_pixels)
    return pixels_CHW(image, settings)


def check_image(path: Path, *, max_pixels: int, max_bytes: int) -> None:
    """Reads an image's header and decodes no pixel.

    Raises:
        InputError: as `image_pixels`, but for damage behind the header.
    """
    with _named(path):
        opened(image_bytes(path, max_bytes=max_bytes), max_pixels=max_pixels)


@contextmanager
def _named(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("no such image", path=path) from error
    except OSError as error:
        raise InputError(f"the image: {error.strerror}", path=path) from error
    except ImageDataError as error:
        raise InputError(f"the image {error}", path=path) from error
