"""Reads input files: the raw bytes of each record in order, whatever the dialect or compression.

Knows JSON arrays and JSON lines, plain, gzip and zstd; not what a record is.
"""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa

from align2llava.pipeline.config.schema import InputConfig, InputPath
from align2llava.pipeline.curation.input.forms import (
    HEAD_BYTES,
    Compression,
    Dialect,
    check_is_file,
    compression_of,
    dialect_in,
)
from align2llava.pipeline.curation.input.json_array import (
    CHUNK_BYTES,
    MAX_ELEMENT_BYTES,
    ArraySyntaxError,
    split_array,
)
from align2llava.pipeline.curation.input.rows import RawElement
from align2llava.pipeline.errors import ConfigError, InputError

_DIALECT_BY_SUFFIX: dict[str, Dialect] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_COMPRESSED = (".gz", ".zst")
_BLANKS = b" \t\r\n"
BUFFER_BYTES = 2**18  # few reads, each of which lets go of the interpreter's lock
MAX_KEPT_BYTES = 65_536  # of a line that is too long


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayStyle:
    """What stands around an array's elements: before the first, between two, after the last."""

    opening: bytes = b"[\n"
    between: bytes = b",\n"
    closing: bytes = b"\n]\n"


def dialect_of(file: InputPath, *, input_format: Literal["auto", "json", "jsonl"]) -> Dialect:
    """Returns the dialect: as configured, else by the suffix, else by the first bytes.

    Raises:
        InputError: the file cannot be read, or is of another form than that; it says which.
    """
    check_is_file(file.path)
    named = _named(file.path) if input_format == "auto" else input_format
    with opened(file.path) as stream:
        return dialect_in(stream.read(HEAD_BYTES), path=file.path, named=named)


def dialect_of_all(config: InputConfig) -> Dialect:
    """Returns the one dialect of all input files.

    Raises:
        InputError: as `dialect_of`.
        ConfigError: there are several.
    """
    dialects: set[Dialect] = {
        dialect_of(file, input_format=config.format) for file in config.files()
    }
    if len(dialects) != 1:
        raise ConfigError(f"input.path: {len(dialects)} dialects in one run; one is the limit")
    return dialects.pop()


def no_record(paths: Sequence[Path]) -> InputError:
    """Returns the error of an input that has nothing in it."""
    others = f" (and {len(paths) - 1} more files)" if paths[1:] else ""
    return InputError(f"holds no record{others}; there is nothing to curate", path=paths[0])


def read_elements(
    path: Path, dialect: Dialect, *, on_style: Callable[[ArrayStyle], None] = lambda _: None
) -> Iterator[RawElement]:
    """Yields the raw bytes of each record; blank lines of JSON lines are no records.

    `on_style` is told at the end what stands around the elements of an array.

    Raises:
        InputError: the file cannot be read, or is no JSON array; it says the byte.
    """
    with opened(path) as stream:
        if dialect == "jsonl":
            yield from _lines(stream)
            return
        try:
            befores: list[bytes] = []
            for piece in split_array(stream):
                if piece.raw:
                    yield RawElement(raw=piece.raw, offset=piece.offset)
                if not piece.raw or len(befores) < 2:
                    befores.append(piece.before)
            on_style(_style_of(befores))
        except ArraySyntaxError as error:
            raise InputError(error.message, path=path, offset=error.offset) from error


@contextmanager
def opened_at(path: Path) -> Generator[Callable[[int, int], bytes]]:
    """Gives a function of an offset and a length that returns those bytes, decompressed.

    Offsets ascend; what lies between is skipped, in a compressed file by reading it.

    Raises:
        InputError: as `opened`.
    """
    with _opened(path) as (stream, compression):

        def take(offset: int, num_bytes: int) -> bytes:
            nonlocal at
            if compression == "none":
                stream.seek(offset)
            while compression != "none" and at < offset:
                skipped = len(stream.read(min(offset - at, CHUNK_BYTES)))
                if not skipped:
                    return b""
                at += skipped
            data = stream.read(num_bytes)
            at = offset + len(data)
            return data

        at = 0
        yield take


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
    """Opens a file for reading, decompressed where its first bytes say so.

    Raises:
        InputError: it is missing, not readable, or its compression is broken.
    """
    with _opened(path) as (stream, _):
        yield stream


@contextmanager
def _opened(path: Path) -> Generator[tuple[BinaryIO, Compression]]:
    try:
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            compression = compression_of(file.read(4))
            file.seek(0)
            if compression == "gzip":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream, compression  # pyright: ignore[reportReturnType] a GzipFile is a BinaryIO but for its type
            elif compression == "zstd":
                with io.BufferedReader(pa.CompressedInputStream(file, "zstd")) as stream:
                    yield stream, compression
            else:
                yield file, compression
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(getattr(error, "strerror", None) or str(error), path=path) from error


def _named(path: Path) -> Dialect | None:
    """Returns the dialect that a file's name says, None where it says none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    known = [suffix for suffix in suffixes if suffix not in _COMPRESSED]
    return _DIALECT_BY_SUFFIX.get(known[-1]) if known else None


def _lines(stream: BinaryIO) -> Iterator[RawElement]:
    end = 0
    while line := stream.readline(MAX_ELEMENT_BYTES):
        start, end = end, end + len(line)
        too_long = len(line) == MAX_ELEMENT_BYTES and not line.endswith(b"\n")
        rest = line
        while too_long and rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_ELEMENT_BYTES)
            end += len(rest)
        text = line.removeprefix(b"" if start else codecs.BOM_UTF8).lstrip(_BLANKS)
        raw = text.rstrip(_BLANKS)
        if raw:
            offset = start + len(line) - len(text)
            raw = raw[:MAX_KEPT_BYTES] if too_long else raw
            yield RawElement(raw=raw, offset=offset, too_long=too_long)


def _style_of(befores: list[bytes]) -> ArrayStyle:
    """Returns the style by the bytes before the first two elements and before the end."""
    match befores:
        case [opening, between, closing]:
            return ArrayStyle(opening=opening, between=between, closing=closing)
        case [opening, closing]:
            return ArrayStyle(opening=opening, closing=closing)
        case _:
            return ArrayStyle()
