"""Why a core of vLLM did not start: what its processes log of it, noted in a file that the service reads.

vLLM tells the process that waits for a core only that it failed ("See root cause above"), and tells it
when the core has ended, which a core whose workers do not end never does. Imported in those processes.
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from align2llava.clients.wire.wording import one_line

# The function that logs the error which ends the core (vllm/v1/engine/core.py 0.32.0).
_CORE_MAIN = "run_engine_core"


class CauseHandler(logging.Handler):
    """Appends one JSON line for each logged exception to the file `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(logging.ERROR)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Notes the exception of a record; one without an exception is none of a failed start."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        noted = {"cause": one_line(error), "is_end": record.funcName == _CORE_MAIN}
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return  # the start is over, and its folder gone; the handler stays with vLLM's logger
        try:
            # One write: processes share the file.
            os.write(file, json.dumps(noted).encode() + b"\n")
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Causes:
    """The file of one start."""

    path: Path

    @property
    def root(self) -> str | None:
        """The first error that was logged; None where none was."""
        noted = self._noted()
        return str(noted[0]["cause"]) if noted else None

    @property
    def has_ended(self) -> bool:
        """Whether the core has said that it cannot start."""
        return any(one["is_end"] for one in self._noted())

    def _noted(self) -> list[dict[str, object]]:
        if not self.path.exists():
            return []
        # What is not followed by the end of its line is still being written.
        lines = self.path.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def handler(self) -> dict[str, object]:
        """Returns the handler as `logging.config.dictConfig` takes it."""
        return {"class": f"{__name__}.{CauseHandler.__name__}", "path": str(self.path)}
