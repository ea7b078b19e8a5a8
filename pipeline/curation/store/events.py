"""The run's log of events: one JSON line each, appended only.

Starts, stages and ends; replicas that left; what the canaries showed and how fast services answered,
which the report reads.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import orjson

from align2llava.pipeline.errors import RunError, StoreError

# Names of the events that figures are made of.
CANARIES_COMPARED = "canaries_compared"  # what a round of canaries leaves
ANSWERED = "answered"  # what a service has answered since the last one


class Notify(Protocol):
    """Takes an event of the run."""

    def __call__(self, event: str, **fields: object) -> None:
        """Takes one event by its name."""
        ...


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


def number_of(event: Mapping[str, object], key: str) -> float:
    """Returns a number of an event, at least 0 and below 2**63.

    Raises:
        RunError: the event has none.
    """
    value = event.get(key)
    if not isinstance(value, int | float) or not 0 <= value < 2**63:
        raise RunError(f"events.jsonl: {event.get('event')} has no number {key}: {value!r:.80}")
    return float(value)
