"""Images of requests: checked against their hash, decoded to RGB within limits, kept by hash.

Which formats, and how they are read, is `clients.wire.decoding`'s. Knows no transport and no engine.
"""

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from align2llava.clients.wire import schemas
from align2llava.clients.wire.decoding import BrokenImageError, LargeImageError, rgb_image
from align2llava.services.errors import ImageInvalidError, ImageNeededError, TooLargeError

_BYTES_A_PIXEL = 4  # Pillow keeps RGB in words
_BYTES_BESIDE = 2_048  # of an image: objects, names, what an allocator rounds up to


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What an image may cost."""

    max_bytes: int
    max_pixels: int
    max_decode_ms: int


class ImageStore:
    """Turns wire images into RGB images; holds the last ones, bounded by decoded bytes."""

    def __init__(self, limits: ImageLimits, *, num_threads: int, max_cache_bytes: int) -> None:
        self._limits = limits
        self._max_cache_bytes = max_cache_bytes
        self._cache_bytes = 0
        self._cache: OrderedDict[str, Image.Image] = OrderedDict()
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        self._slots = asyncio.Semaphore(num_threads)
        self._num_threads = num_threads
        self._begun: dict[asyncio.Future[Image.Image], float] = {}  # when, on the loop's clock

    @property
    def is_stuck(self) -> bool:
        """Whether every thread is held by an image that has had its time, so that no other is decoded."""
        overdue_at = asyncio.get_running_loop().time() - self._limits.max_decode_ms / 1e3
        overdue = [begun for begun in self._begun.values() if begun < overdue_at]
        return len(overdue) >= self._num_threads

    async def resolve(self, image: schemas.Image) -> Image.Image:
        """Returns the RGB image of a hash or of data that has that hash.

        Raises:
            ImageNeededError: a hash without data, and not held here.
            ImageInvalidError: the data has another hash, is no image we read, or takes too long.
            TooLargeError: too many bytes or pixels.
        """
        held = self._cache.get(image.sha256)
        if image.data is None:
            if held is None:
                raise ImageNeededError(f"image {image.sha256} is not held here; send its data")
            self._cache.move_to_end(image.sha256)
            return held
        if len(image.data) > self._limits.max_bytes:
            raise TooLargeError(
                f"image {image.sha256} is {len(image.data)} bytes; the limit is "
                f"{self._limits.max_bytes}"
            )
        decoded = await self._decoded_in_time(image.data, sha256=image.sha256, held=held)
        self._keep(image.sha256, decoded)
        return decoded

    async def _decoded_in_time(
        self, data: bytes, *, sha256: str, held: Image.Image | None
    ) -> Image.Image:
        await self._slots.acquire()
        work = asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: checked_and_decoded(
                data, sha256=sha256, held=held, max_pixels=self._limits.max_pixels
            ),
        )
        self._begun[work] = asyncio.get_running_loop().time()
        work.add_done_callback(self._free_slot)
        # A thread cannot be stopped: past its time it goes on, and its answer is dropped. It keeps its
        # slot, so that the time of others does not begin before there is a thread for them.
        try:
            async with asyncio.timeout(self._limits.max_decode_ms / 1e3):
                return await asyncio.shield(work)
        except TimeoutError:
            raise ImageInvalidError(
                f"image {sha256} took longer to decode than {self._limits.max_decode_ms} ms"
            ) from None

    def _free_slot(self, work: asyncio.Future[Image.Image]) -> None:
        self._slots.release()
        del self._begun[work]
        if not work.cancelled():
            work.exception()  # seen here where nobody waits for it any more

    def _keep(self, sha256: str, image: Image.Image) -> None:
        if sha256 in self._cache:
            self._cache.move_to_end(sha256)
            return
        self._cache[sha256] = image
        self._cache_bytes += _num_bytes(image)
        while self._cache_bytes > self._max_cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cache_bytes -= _num_bytes(oldest)

    def close(self) -> None:
        """Stops the decoding threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _num_bytes(image: Image.Image) -> int:
    """Returns what an image takes here; without what is beside the pixels, tiny ones would have no bound."""
    return image.width * image.height * _BYTES_A_PIXEL + _BYTES_BESIDE


def checked_and_decoded(
    data: bytes, *, sha256: str, held: Image.Image | None, max_pixels: int
) -> Image.Image:
    """Returns the RGB image of `data`, or `held` where that is known to be it.

    Raises:
        ImageInvalidError: `data` does not have the hash, or is no image we read.
        TooLargeError: more than `max_pixels`, told by its header.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ImageInvalidError(f"the data has sha256 {found}, not {sha256} as it says")
    if held is not None:
        return held
    return decoded(data, max_pixels=max_pixels, name=f"image {sha256}")


def decoded(data: bytes, *, max_pixels: int, name: str = "the image") -> Image.Image:
    """Returns an encoded image in RGB; `name` begins the message of an error.

    Raises:
        ImageInvalidError: no image that is read, damaged, or cut off.
        TooLargeError: more than `max_pixels`, told by its header before anything is decoded.
    """
    try:
        return rgb_image(data, max_pixels=max_pixels)
    except LargeImageError as error:
        raise TooLargeError(f"{name} {error}") from error
    except BrokenImageError as error:
        raise ImageInvalidError(f"{name} {error}") from error
