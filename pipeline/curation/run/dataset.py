"""The curated dataset: kept records in input order, untouched ones byte for byte. Decides nothing."""

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from align2llava.clients.wire.schemas import Turn
from align2llava.clients.wire.texts import IMAGE_TOKEN
from align2llava.pipeline.curation.disk.files import whole_file
from align2llava.pipeline.curation.input.files import ArrayStyle, Dialect

_LEADING_TOKEN = re.compile(rf"\s*{IMAGE_TOKEN}\s*")
_TRAILING_TOKEN = re.compile(rf"\s*{IMAGE_TOKEN}\s*$")

_MARK = secrets.token_hex(16)  # in front of numbers; no record can hold it
_MARKED = re.compile(f'"{_MARK}([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecord:
    """A record to be written: its bytes, the candidate chosen for each turn, its rewrites by turn."""

    raw: bytes
    chosen: Sequence[int]
    rewrites: dict[int, Turn]


def write_dataset(
    path: Path, records: Iterable[KeptRecord], *, dialect: Dialect, style: ArrayStyle
) -> int:
    """Writes the records whole or not at all, and returns how many differ from the input.

    Raises:
        StoreError: the write failed.
    """
    with whole_file(path) as file:
        return _write(file, records, dialect=dialect, style=style)


def record_bytes(kept: KeptRecord) -> bytes:
    """Returns a record as it goes out: its own bytes where nothing was rewritten or chosen.

    A changed record keeps its keys and their order, every value that did not change, and the spelling
    of its numbers.
    """
    if not kept.rewrites and not _has_candidates(kept.raw):
        return kept.raw
    record = json.loads(kept.raw, parse_int=_marked, parse_float=_marked)
    messages = record["conversations"]
    is_changed = False
    for turn, candidate in enumerate(kept.chosen):
        human, gpt = messages[2 * turn], messages[2 * turn + 1]
        if isinstance(gpt["value"], list):
            gpt["value"] = gpt["value"][candidate]
            is_changed = True
        rewrite = kept.rewrites.get(turn)
        if rewrite is not None:
            human["value"] = with_image_token(human["value"], rewrite.question)
            gpt["value"] = rewrite.answer
            is_changed = True
    if not is_changed:
        return kept.raw
    return _MARKED.sub(r"\1", json.dumps(record, ensure_ascii=False)).encode()


def _marked(number: str) -> str:
    """Marks a number so that it is written as it was spelled: Python would turn `-0` into `0`, `1e400` into `inf`."""
    return _MARK + number


def with_image_token(before: str, question: str) -> str:
    """Returns a new question with `<image>` where it stood `before`: in front, behind, or not at all."""
    if IMAGE_TOKEN not in before:
        return question
    leading = _LEADING_TOKEN.match(before)
    if leading is not None:
        return leading[0] + question
    trailing = _TRAILING_TOKEN.search(before)
    return f"{IMAGE_TOKEN}\n{question}" if trailing is None else question + trailing[0]


def _has_candidates(raw: bytes) -> bool:
    return any(isinstance(message["value"], list) for message in orjson.loads(raw)["conversations"])


def _write(
    file: BinaryIO, records: Iterable[KeptRecord], *, dialect: Dialect, style: ArrayStyle
) -> int:
    num_changed = num_written = 0
    for kept in records:
        data = record_bytes(kept)
        num_changed += data is not kept.raw
        if dialect == "json":
            file.write(style.between if num_written else style.opening)
            file.write(data)
        else:
            file.write(data + b"\n")
        num_written += 1
    if dialect == "json":
        file.write(style.closing if num_written else b"[]\n")
    return num_changed
