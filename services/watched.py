"""Files that may change under a running process: looked at once a second at most, by their status."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

_LOOK_S = 1.0


class WatchedFiles:
    """Tells when one of some files is another than before; cheap enough to be asked at each request."""

    def __init__(
        self, paths: Sequence[Path], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._paths = paths
        self._now_s = now_s
        self._seen = self._status()
        self._looked_s = now_s()

    def have_changed(self) -> bool:
        """Returns whether they changed since this was last told; a file that is gone has changed."""
        now_s = self._now_s()
        if now_s - self._looked_s < _LOOK_S:
            return False
        self._looked_s = now_s
        before, self._seen = self._seen, self._status()
        return self._seen != before

    def _status(self) -> list[tuple[int, int, int]]:
        return [_status_of(path) for path in self._paths]


def _status_of(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()  # of what links lead to, as Kubernetes swaps those
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)
