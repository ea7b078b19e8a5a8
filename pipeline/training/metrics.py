"""`metrics.jsonl` of a training: one object a line, in step order."""

import json
from collections.abc import Mapping
from pathlib import Path

from align2llava.pipeline.errors import StoreError


class MetricsFile:
    """Appends metrics; a resumed training first forgets what lies after its snapshot."""

    def __init__(self, path: Path, *, from_step: int) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) < from_step]
        self._write("w", [f"{line}\n" for line in kept])

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line.

        Raises:
            StoreError: the disk refuses.
        """
        self._write("a", [json.dumps({"step": step, **values}) + "\n"])

    def _write(self, mode: str, lines: list[str]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open(mode, encoding="utf-8") as stream:
                stream.writelines(lines)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error}") from error


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62  # a line cut short by a crash is forgotten
