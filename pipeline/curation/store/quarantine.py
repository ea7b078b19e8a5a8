"""Quarantined records on disk, as JSON lines; each is there with its code, never lost.

While a run goes, what the services found is appended in parts; at its end one part with every
quarantined record takes their place.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import polars as pl

from align2llava.clients.wire.codes import Code
from align2llava.pipeline.curation.disk.files import write_next_part
from align2llava.pipeline.curation.disk.pending import Pending
from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.layout import QuarantineLine, parts
from align2llava.pipeline.errors import RunError

# Faults that lie in the record itself: asking again would answer the same.
PERMANENT = frozenset({Code.INVALID_REQUEST, Code.TOO_LARGE, Code.IMAGE_INVALID})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFault:
    """What a service said of a record, how often it was asked, and at which stage."""

    fault: Fault
    stage: str
    attempts: int

    @property
    def is_permanent(self) -> bool:
        """Returns whether asking again is of no use."""
        return self.fault.code in PERMANENT


class QuarantineStore:
    """The service faults of one run, by uid and stage."""

    def __init__(self, folder: Path) -> None:
        """Reads what is stored.

        Raises:
            RunError: a part cannot be read.
        """
        self._folder = folder
        self._faults: dict[tuple[str, str], ServiceFault] = {}
        self._pending = Pending[QuarantineLine](
            lambda lines: write_next_part(folder, "jsonl", lines_bytes(lines))
        )
        for line in read_lines(folder):
            if line["attempts"] and line["uid"] is not None:
                fault = Fault(code=line["code"], message=line["message"])
                self._faults[line["uid"], line["stage"]] = ServiceFault(
                    fault=fault, stage=line["stage"], attempts=line["attempts"]
                )

    def find(self, uid: str, stage: str) -> ServiceFault | None:
        """Returns what a service said of a record at a stage."""
        return self._faults.get((uid, stage))

    def faults(self, stage: str) -> pl.DataFrame:
        """Returns uid (UInt128), code and message of what a service said of records at a stage."""
        found = [
            (int(uid, 16), str(known.fault.code), known.fault.message)
            for (uid, of_stage), known in self._faults.items()
            if of_stage == stage
        ]
        schema = {"uid": pl.UInt128, "code": pl.String, "message": pl.String}
        return pl.DataFrame(found, schema=schema, orient="row")

    def add(self, *, position: int, uid: str, raw: bytes, stage: str, fault: Fault) -> None:
        """Takes a fault that a service answered; held back until `commit`."""
        before = self._faults.get((uid, stage))
        attempts = 1 + (0 if before is None else before.attempts)
        self._faults[uid, stage] = ServiceFault(fault=fault, stage=stage, attempts=attempts)
        self._pending.add(
            line_of(
                position=position, uid=uid, raw=raw, stage=stage, fault=fault, attempts=attempts
            )
        )

    def commit(self) -> None:
        """Writes what is held back as one part.

        Raises:
            StoreError: the write failed; what is held back stays so.
        """
        self._pending.commit()

    def replace(self, lines: Iterable[QuarantineLine]) -> None:
        """Writes the run's final quarantine in one part and removes the parts before it.

        Raises:
            StoreError: the write failed.
        """
        before = list(parts(self._folder, "jsonl"))
        data = lines_bytes(lines)
        if data:
            write_next_part(self._folder, "jsonl", data)
        for path in before:
            path.unlink()


def read_lines(folder: Path) -> list[QuarantineLine]:
    """Returns every stored line in the order written.

    Raises:
        RunError: a part cannot be read.
    """
    lines: list[QuarantineLine] = []
    for path in parts(folder, "jsonl"):
        try:
            lines.extend(orjson.loads(line) for line in path.read_bytes().splitlines())
        except (OSError, orjson.JSONDecodeError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
    return lines


def line_of(
    *, position: int, uid: str | None, raw: bytes, stage: str, fault: Fault, attempts: int
) -> QuarantineLine:
    """Returns the line of a record, with its parsed JSON or, where no line can hold it, its bytes in base64."""
    line = QuarantineLine(
        position=position,
        uid=uid,
        stage=stage,
        code=str(fault.code),
        message=fault.message,
        attempts=attempts,
    )
    record = None if uid is None else _record_in_a_line(raw)
    if record is None:
        line["raw_base64"] = base64.b64encode(raw).decode()
    else:
        line["record"] = record
    return line


def _record_in_a_line(raw: bytes) -> object:
    """Returns a record's JSON, None where it is nested so deeply that no line around it can be written."""
    record = orjson.loads(raw)
    try:
        orjson.dumps([record])
    except orjson.JSONEncodeError:
        return None
    return record


def lines_bytes(lines: Iterable[QuarantineLine]) -> bytes:
    """Returns lines as JSON lines."""
    dumped: Sequence[bytes] = [
        orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines
    ]
    return b"".join(dumped)
