"""Which record a key means: a position, an id, a uid or the start of one. Pure.

A number with a leading zero is no position. Where a key fits in two ways, the note says which one was
taken and how the other is asked for.
"""

import re
from dataclasses import dataclass

import orjson
import polars as pl

from align2llava.pipeline.errors import RunError

MIN_PREFIX_CHARS = 4
MAX_SHOWN = 8  # positions of a message
_POSITION = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_UID_START = re.compile(r"[0-9a-f]{4,32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRecord:
    """The record that a key means; `note`: what else the key could have meant, or None."""

    position: int
    note: str | None = None


def find_record(decisions: pl.DataFrame, key: str, *, is_id: bool = False) -> FoundRecord:
    """Returns the record of a run's decisions; `is_id` = the key is an id and nothing else.

    Tried in turn: a position, an id, the start of a uid.

    Raises:
        RunError: the key fits no record, or several.
    """
    by_id = _with_id(decisions, key)
    if is_id:
        return _only(by_id, key, f"id {key}", height=decisions.height)
    if _is_position(key, decisions.height):
        return _at_position(decisions, key, by_id)
    by_uid = _with_uid(decisions, key)
    if by_id:
        note = f"{key} was taken as an id"
        if by_uid and by_uid != by_id:
            note += f"; it is also the start of the uid of the record at position {by_uid[0]}"
        elif not key.isdigit():
            note = ""
        found = _only(by_id, key, f"id {key}", height=decisions.height)
        return FoundRecord(position=found.position, note=note or None)
    if by_uid:
        num_uids = decisions["uid"].gather(by_uid).n_unique()
        if num_uids > 1:
            raise RunError(f"{key}: {num_uids} records of the run have such a uid; give more of it")
        return FoundRecord(position=by_uid[0])
    raise RunError(_unknown(key, decisions.height))


def _is_position(key: str, num_records: int) -> bool:
    return _POSITION.fullmatch(key) is not None and len(key) < 20 and int(key) < num_records


def _at_position(decisions: pl.DataFrame, key: str, by_id: list[int]) -> FoundRecord:
    position = int(key)
    others = [at for at in by_id if at != position]
    if others:
        where = f"the record{'s' if len(others) > 1 else ''} at position {_listed(others)}"
        note = f"{key} was taken as a position; it is also the id of {where}: --id {key}"
        return FoundRecord(position=position, note=note)
    by_uid = [at for at in _with_uid(decisions, key) if at != position]
    if by_uid:
        note = (
            f"{key} was taken as a position; it is also the start of the uid of the record at "
            f"position {_listed(by_uid)}: give more of it"
        )
        return FoundRecord(position=position, note=note)
    return FoundRecord(position=position)


def _with_id(decisions: pl.DataFrame, key: str) -> list[int]:
    """Returns the positions of an id, which the decisions hold as JSON: a text, or a number as it is."""
    try:
        as_text = orjson.dumps(key).decode()
    except orjson.JSONEncodeError:  # a lone surrogate of the command line; no id holds one
        return []
    return decisions["id"].is_in([as_text, key]).fill_null(value=False).arg_true().to_list()


def _with_uid(decisions: pl.DataFrame, key: str) -> list[int]:
    wanted = key.lower()
    if _UID_START.fullmatch(wanted) is None:
        return []
    found = decisions["uid"].str.starts_with(wanted)
    return found.fill_null(value=False).arg_true().to_list()


def _only(positions: list[int], key: str, name: str, *, height: int) -> FoundRecord:
    if len(positions) == 1:
        return FoundRecord(position=positions[0])
    if positions:
        raise RunError(
            f"{name}: {len(positions)} records have it, at positions {_listed(positions)}; "
            f"give a position or a uid"
        )
    hint = f"; for position {int(key)} leave --id out" if _is_position(key, height) else ""
    raise RunError(f"{name}: no record of the run has it{hint}")


def _unknown(key: str, num_records: int) -> str:
    last = num_records - 1
    has_zeros = key.isascii() and key.isdigit() and key != str(int(key[-20:]))
    if has_zeros and _is_position(key.lstrip("0") or "0", num_records):
        return (
            f"{key}: no record has this id or a uid that starts so; "
            f"for position {int(key)} leave the zeros out"
        )
    if key.isascii() and key.isdigit():
        return f"position {key} of 0-{last}: there is none; nor is it an id or the start of a uid"
    short = len(key) < MIN_PREFIX_CHARS
    least = f" (of a uid give {MIN_PREFIX_CHARS} characters at least)" if short else ""
    return f"{key}: 0 records have such a uid or id{least}; positions are 0-{last}"


def _listed(positions: list[int]) -> str:
    more = ", ..." if len(positions) > MAX_SHOWN else ""
    return ", ".join(map(str, positions[:MAX_SHOWN])) + more
