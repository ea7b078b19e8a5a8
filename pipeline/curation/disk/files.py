"""Writes that survive kill -9: a file is there whole or not at all."""

import hashlib
import os
from pathlib import Path

from align2llava.pipeline.errors import StoreError


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file whole: beside it, flushed to disk, then renamed over `path`.

    Raises:
        StoreError: the write failed; `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        publish(beside, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def publish(beside: Path, path: Path) -> None:
    """Renames a flushed file to its name and flushes the folder that holds the name."""
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
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
