"""Writes that survive kill -9: a file is there whole or not at all."""

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from align2llava.pipeline.errors import StoreError


@contextmanager
def whole_file(path: Path) -> Generator[BinaryIO]:
    """A new file, written beside `path`, flushed to disk and renamed over it at the end; its folder is made.

    Raises:
        StoreError: a write failed; `path` is as it was, and nothing lies beside it.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file whole.

    Raises:
        StoreError: the write failed; `path` is as it was.
    """
    with whole_file(path) as file:
        file.write(data)


def _flush_folder(path: Path) -> None:
    """Flushes the folder that holds a name."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_next_part(folder: Path, suffix: str, data: bytes) -> Path:
    """Writes the next part of a folder, named by its number and content; needs the run's lease.

    Raises:
        StoreError: the write failed.
    """
    numbers = (int(path.stem.split("-")[1]) for path in folder.glob(f"part-*.{suffix}"))
    content = hashlib.blake2b(data, digest_size=8).hexdigest()
    path = folder / f"part-{max(numbers, default=0) + 1:06d}-{content}.{suffix}"
    write_durably(path, data)
    return path
