"""Files of images on disk, never read beyond the limit of their bytes. Knows no format and no root."""

import errno
import os
import stat
from pathlib import Path

from align2llava.clients.wire.decoding import BrokenImageError, LargeImageError


def image_bytes(path: Path, *, max_bytes: int) -> bytes:
    """Returns an image file's bytes.

    Raises:
        OSError: it cannot be opened or read; of a name that no file can have it says so.
        BrokenImageError: no regular file; a pipe is not waited for.
        LargeImageError: more than `max_bytes`, of which none is read where the file's size tells it.
    """
    if "\0" in str(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        file = open(path, "rb", opener=_unblocked)  # noqa: SIM115  (closed below; Path.open takes no opener)
    except IsADirectoryError:
        raise BrokenImageError("is no file") from None
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise BrokenImageError("is no file")
        # Room is made for what is asked for, so the limit is asked for only where more came than the file
        # told: it has grown, or (/proc) tells no size.
        data = b"" if found.st_size > max_bytes else file.read(found.st_size + 1)
        if len(data) > found.st_size:
            data += file.read(max_bytes + 1 - len(data))
    num_bytes = max(found.st_size, len(data))
    if num_bytes > max_bytes:
        raise LargeImageError(f"has {num_bytes} bytes; the limit is {max_bytes}")
    return data


def _unblocked(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
