"""Writes that survive kill -9: a file is there whole or not at all."""

import os
from pathlib import Path

from pipeline.errors import StoreError


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


def next_part(folder: Path, suffix: str) -> Path:
    """Returns the path of the part to be written next; needs the run's lease."""
    numbers = [int(path.stem.removeprefix("part-")) for path in folder.glob(f"part-*.{suffix}")]
    return folder / f"part-{max(numbers, default=0) + 1:06d}.{suffix}"
