"""The run's log of events: one JSON line per start, stage and end. Appended only, read by people."""

from datetime import UTC, datetime
from pathlib import Path

import orjson

from pipeline.errors import StoreError


class EventLog:
    """Appends to `events.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **fields: object) -> None:
        """Appends one event with the time of day in UTC.

        Raises:
            StoreError: the write failed.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        try:
            with self._path.open("ab") as file:
                file.write(orjson.dumps(line | fields, option=orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error
