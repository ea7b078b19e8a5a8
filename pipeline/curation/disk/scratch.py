"""Scratch: a folder outside of any run, for what can be made again at any time."""

import hashlib
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from align2llava.pipeline.errors import StoreError

MAX_FILES = 16  # of a kind
MIN_AGE_SECONDS = 7 * 24 * 3600.0  # a younger file may be of a run that goes on


def scratch_folder(configured: Path | None) -> Path:
    """Returns the folder, made where it is missing: as configured, else of the user's caches.

    Raises:
        StoreError: it cannot be written.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    temporary = Path(tempfile.gettempdir()) / f"align2llava-{os.getuid()}"
    folders = (home / "align2llava", temporary) if configured is None else (configured,)
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
    raise StoreError(
        f"cannot write in {' or '.join(map(str, folders))}; set run.scratch to a folder"
    )


def prune(folder: Path, pattern: str) -> None:
    """Removes files that match, except the newest `MAX_FILES` and those younger than `MIN_AGE_SECONDS`."""
    found: list[tuple[float, Path]] = []
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # another driver prunes too
            found.append((path.stat().st_mtime, path))
    for changed, path in sorted(found)[:-MAX_FILES]:
        if time.time() - changed > MIN_AGE_SECONDS:
            path.unlink(missing_ok=True)


def scratch_name(*identity: str) -> str:
    """Returns a file name for what `identity` names."""
    return hashlib.blake2b("\0".join(identity).encode(), digest_size=16).hexdigest()
