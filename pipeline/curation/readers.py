"""Reads input files: the raw bytes of each record in order, whatever the dialect or compression.

Knows JSON arrays and JSON lines, plain, .gz and .zst; not what a record is.
"""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa

from pipeline.config import InputPath
from pipeline.curation.elements import MAX_ELEMENT_BYTES, ArraySyntaxError, split_array
from pipeline.errors import InputError

Dialect = Literal["json", "jsonl"]
_DIALECT_BY_SUFFIX: dict[str, Dialect] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_COMPRESSIONS = (".gz", ".zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawElement:
    """One record's bytes; `too_long` = a line over the limit, whose bytes are cut off."""

    raw: bytes
    too_long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayStyle:
    """What stands around an array's elements: before the first, between two, after the last."""

    opening: bytes = b"[\n"
    between: bytes = b",\n"
    closing: bytes = b"\n]\n"


def dialect_of(file: InputPath, *, input_format: Literal["auto", "json", "jsonl"]) -> Dialect:
    """Returns the dialect: as configured, else by the suffix, else by the first byte.

    Raises:
        InputError: the file cannot be read.
    """
    if input_format != "auto":
        return input_format
    suffixes = [suffix for suffix in file.path.suffixes if suffix not in _COMPRESSIONS]
    known = _DIALECT_BY_SUFFIX.get(suffixes[-1].lower()) if suffixes else None
    if known is not None:
        return known
    with opened(file.path) as stream:
        return "json" if stream.read(4096).lstrip()[:1] == b"[" else "jsonl"


def read_elements(path: Path, dialect: Dialect) -> Iterator[RawElement]:
    """Yields the raw bytes of each record; blank lines of JSON lines are no records.

    Raises:
        InputError: the file cannot be read, or is no JSON array; it says the byte.
    """
    with opened(path) as stream:
        if dialect == "jsonl":
            yield from _lines(stream)
            return
        try:
            for piece in split_array(stream):
                if piece.raw:
                    yield RawElement(raw=piece.raw)
        except ArraySyntaxError as error:
            hint = "" if error.offset else "; for JSON lines set input.format to jsonl"
            raise InputError(error.message + hint, path=path, offset=error.offset) from error


def read_array_style(path: Path) -> ArrayStyle:
    """Returns what stands around the elements of an array that was read before."""
    befores: list[bytes] = []
    closing = b""
    with opened(path) as stream:
        for piece in split_array(stream):
            if not piece.raw:
                closing = piece.before
            elif len(befores) < 2:
                befores.append(piece.before)
    match befores:
        case [opening, between]:
            return ArrayStyle(opening=opening, between=between, closing=closing)
        case [opening]:
            return ArrayStyle(opening=opening, closing=closing)
        case _:
            return ArrayStyle()


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file, in hex.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(error.strerror or str(error), path=path) from error


@contextmanager
def opened(path: Path) -> Generator[BinaryIO]:
    """Opens a file for reading, decompressed by its suffix.

    Raises:
        InputError: it is missing, not readable, or its compression is broken.
    """
    try:
        with path.open("rb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream  # pyright: ignore[reportReturnType] a GzipFile is a BinaryIO but for its type
            elif path.suffix == ".zst":
                with io.BufferedReader(pa.CompressedInputStream(file, "zstd")) as stream:
                    yield stream
            else:
                yield file
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(getattr(error, "strerror", None) or str(error), path=path) from error


def _lines(stream: BinaryIO) -> Iterator[RawElement]:
    is_first = True
    while line := stream.readline(MAX_ELEMENT_BYTES):
        too_long = len(line) == MAX_ELEMENT_BYTES and not line.endswith(b"\n")
        rest = line
        while too_long and rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_ELEMENT_BYTES)
        raw = line.removeprefix(codecs.BOM_UTF8 if is_first else b"").strip(b" \t\r\n")
        is_first = False
        if raw:
            yield RawElement(raw=raw[:65536] if too_long else raw, too_long=too_long)
