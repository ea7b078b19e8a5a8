"""The lease of a run directory: one driver at a time works in it; a killed one lets go by itself."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager

from pipeline.curation.layout import RunPaths
from pipeline.errors import RunError, StoreError


@contextmanager
def held(paths: RunPaths) -> Generator[None]:
    """Holds the run directory, which is made where there is none.

    Raises:
        RunError: another process holds it.
        StoreError: it cannot be made.
    """
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        file = paths.lease.open("ab")
    except OSError as error:
        raise StoreError(f"cannot write in {paths.root}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{paths.root} is in use by another process") from error
        yield
