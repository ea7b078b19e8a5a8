"""Known truth about a raw set, and how good a chosen set is by it. Evaluation only.

A truth file is JSONL, `{"id", "type", "good", "defects": []}`, unique by id and type. Nothing that
trains a model or selects a record reads it.
"""

import codecs
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard, cast

import orjson
import polars as pl

from align2llava.pipeline.errors import InputError

WILSON_Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of one record."""

    is_good: bool
    defects: tuple[str, ...]


TruthTable = Mapping[tuple[str, str], Truth]  # by (id as JSON text, type)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodShare:
    """The good records of a set; `low` and `high` bound the share by Wilson's 95 % interval."""

    set: str
    type: str | None  # None = all types together
    num_records: int
    num_good: int
    num_unknown: int  # records that the truth file does not name; in no share
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectCount:
    """How many records of each set carry a defect (a record may carry several)."""

    defect: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFigures:
    """All that the truth says of a run and its baselines."""

    shares: tuple[GoodShare, ...]
    defects: tuple[DefectCount, ...]


def read_truth(path: Path) -> dict[tuple[str, str], Truth]:
    """Returns the truth file's rows; a byte order mark is read over.

    Raises:
        InputError: a line is no truth row, or repeats an id and type.
    """
    table: dict[tuple[str, str], Truth] = {}
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise InputError("is UTF-16; UTF-8 is read", path=path)
                if not line.strip():
                    continue
                key, truth = _row(line, path=path, number=number)
                if key in table:
                    raise InputError(
                        f"line {number}: id {key[0]}, type {key[1]} repeats", path=path
                    )
                table[key] = truth
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    return table


def _row(line: bytes, *, path: Path, number: int) -> tuple[tuple[str, str], Truth]:
    try:
        row = orjson.loads(line)
        key = (orjson.dumps(row["id"]).decode(), row["type"])
        defects, is_good = row["defects"], row["good"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"line {number} is no truth row (id, type, good, defects): {error!r}", path=path
        ) from error
    if not isinstance(is_good, bool):
        raise InputError(f"line {number}: good is {is_good!r}; it must be true or false", path=path)
    if not isinstance(key[1], str) or not _is_texts(defects):
        raise InputError(
            f"line {number}: type must be a text, and defects a list of texts", path=path
        )
    return key, Truth(is_good=is_good, defects=tuple(defects))


def _is_texts(value: object) -> TypeGuard[list[str]]:
    if not isinstance(value, list):
        return False
    return all(isinstance(one, str) for one in cast("list[object]", value))


def truth_figures(sets: Mapping[str, pl.DataFrame], truth: TruthTable) -> TruthFigures:
    """Returns the share of good records and the defects of each named set of decisions.

    A set's rows need the columns `id` and `type` only; its shares stand in the order of `sets`,
    all types together first.
    """
    known = {name: _joined(rows, truth) for name, rows in sets.items()}
    shares = [share for name, rows in known.items() for share in _shares(name, rows)]
    defects = sorted({defect for entry in truth.values() for defect in entry.defects})
    return TruthFigures(
        shares=tuple(shares),
        defects=tuple(
            DefectCount(
                defect=defect,
                counts={name: _num_with(rows, defect) for name, rows in known.items()},
            )
            for defect in defects
        ),
    )


_Known = list[tuple[str, Truth | None]]


def _joined(rows: pl.DataFrame, truth: TruthTable) -> _Known:
    pairs = rows.select("id", "type").iter_rows()
    return [(kind, truth.get((identifier, kind))) for identifier, kind in pairs]


def _shares(name: str, rows: _Known) -> list[GoodShare]:
    types = sorted({kind for kind, _ in rows})
    by_type = [
        _share(name, kind, [entry for found, entry in rows if found == kind]) for kind in types
    ]
    return [_share(name, None, [entry for _, entry in rows]), *by_type]


def _share(name: str, kind: str | None, entries: Iterable[Truth | None]) -> GoodShare:
    found = list(entries)
    known = [entry for entry in found if entry is not None]
    good = sum(entry.is_good for entry in known)
    low, high = wilson_interval(good, len(known)) if known else (None, None)
    return GoodShare(
        set=name,
        type=kind,
        num_records=len(found),
        num_good=good,
        num_unknown=len(found) - len(known),
        share=good / len(known) if known else None,
        low=low,
        high=high,
    )


def wilson_interval(num_hits: int, num: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share. Source: Wilson (1927), JASA 22(158)."""
    share, z2 = num_hits / num, WILSON_Z**2
    middle = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = WILSON_Z / (1 + z2 / num) * math.sqrt(share * (1 - share) / num + z2 / (4 * num**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _num_with(rows: _Known, defect: str) -> int:
    return sum(entry is not None and defect in entry.defects for _, entry in rows)
