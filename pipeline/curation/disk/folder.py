"""What may lie in a run directory: plain files and folders. A link would have a run read, or write, elsewhere."""

import os
from contextlib import suppress
from pathlib import Path

from align2llava.pipeline.errors import RunError


def require_own_files(root: Path) -> None:
    """Checks that everything below a run directory lies there; the directory itself may be a link.

    Raises:
        RunError: something is a link, a pipe, a device or a socket.
    """
    folders = [root]
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:  # gone meanwhile
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_symlink():
                    raise RunError(f"{entry.path} is a link; a run holds its own files and folders")
                elif not entry.is_file(follow_symlinks=False):
                    raise RunError(f"{entry.path} is no plain file, as all files of a run are")
