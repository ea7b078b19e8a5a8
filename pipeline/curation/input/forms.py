"""The form of an input file, told by its first bytes: which of what we read it is, or what else.

Knows no records. A form that is not read is named before anything is spent, and what to do about it.
"""

import codecs
import json
import re
import stat
from pathlib import Path
from typing import Literal

import orjson

from align2llava.pipeline.errors import InputError

Compression = Literal["none", "gzip", "zstd"]
Dialect = Literal["json", "jsonl"]

HEAD_BYTES = 2**18  # looked at; a few records
_SHOWN_CHARS = 40
_OPEN_FILES = ("/dev/stdin", "/dev/fd/", "/proc/")

_COMPRESSIONS: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([number]) + b"\x2a\x4d\x18": "zstd" for number in range(0x50, 0x60)},  # pzstd's frames
}
# Source: the magic numbers of file(1). UTF-32 stands before UTF-16, which it begins with.
_FOREIGN = {
    codecs.BOM_UTF32_LE: "UTF-32 text",
    codecs.BOM_UTF32_BE: "UTF-32 text",
    codecs.BOM_UTF16_LE: "UTF-16 text",
    codecs.BOM_UTF16_BE: "UTF-16 text",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"FEA1": "a Feather file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"\x04\x22\x4d\x18": "compressed with lz4",
    b"PK\x03\x04": "a zip file",
    b"PK\x05\x06": "an empty zip file",
    b"7z\xbc\xaf\x27\x1c": "a 7z file",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    **{bytes([0x80, protocol]): "a pickle" for protocol in range(2, 6)},
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF",
}
_TAR = (257, b"ustar")
_READ = "read are JSON arrays and JSON lines in UTF-8, plain, gzip or zstd"
_ARRAY_OF_RECORDS = re.compile(rb"\[\s*(?:\{|\]?\s*\Z)")
_LINES_OF_OBJECTS = re.compile(rb"\{[^\n]*\}[ \t\r]*\n\s*\{")
_BLANKS = b" \t\r\n"
_RECORD_KEYS = ("conversations", "messages")


def check_is_file(path: Path) -> None:
    """Checks that a path is a file that can be read as often as it takes.

    Raises:
        InputError: it is missing, a folder, a pipe, a device, or an open file of this process.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(error.strerror or str(error), path=path) from error
    if stat.S_ISDIR(mode):
        raise InputError("is a folder; a file or a list of files is needed", path=path)
    if not stat.S_ISREG(mode) or str(path).startswith(_OPEN_FILES):
        message = (
            f"{_kind(mode)} can be read only once, and a run reads its input again "
            "(resume, select, explain); save it to a file first: `COMMAND > raw.jsonl`"
        )
        raise InputError(message, path=path)


def compression_of(head: bytes) -> Compression:
    """Returns how a file is compressed, by its first 4 bytes, whatever its name is."""
    for magic, compression in _COMPRESSIONS.items():
        if head.startswith(magic):
            return compression
    return "none"


def dialect_in(head: bytes, *, path: Path, named: Dialect | None) -> Dialect:
    """Returns the dialect of a file by its first bytes, decompressed; `named` None = any.

    Raises:
        InputError: it has another form than its name or the config says, or one that is not read.
    """
    foreign = _foreign(head)
    if foreign is not None:
        raise InputError(f"is {foreign}; {_READ}", path=path)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip(_BLANKS)
    if not text:
        if named == "json" and len(head) < HEAD_BYTES:
            raise InputError("is empty: no byte but blanks", path=path)
        return named or "jsonl"
    is_array = _ARRAY_OF_RECORDS.match(text) is not None and not _is_first_of_lines(text)
    match named:
        case "json" if text[:1] != b"[":
            raise InputError(_no_array(text), path=path)
        case "jsonl" if is_array:
            message = "is a JSON array; set input.format to json, or name it .json"
            raise InputError(message, path=path)
        case None if text[:1] == b"[":
            return "json"
        case None | "jsonl" if problem := _no_lines(text):
            raise InputError(problem, path=path)
        case _:
            return named or "jsonl"


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISREG(mode):
        return "an open file of this process"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _foreign(head: bytes) -> str | None:
    found = next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)
    if found is not None:
        return found
    at, magic = _TAR
    if head[at:].startswith(magic):
        return "a tar file"
    if head[:2] in (b"[\0", b"{\0", b"\0[", b"\0{"):
        return "UTF-16 text"
    # A line with zero bytes is one bad line, where others are records.
    if b"\0" in head and not any(map(_is_object, head.splitlines())):
        return f"a binary file (byte {head.find(0)} is 0)"
    return None


def _no_array(text: bytes) -> str:
    """Returns what stands there instead of the array of a .json file."""
    if text[:1] != b"{":
        return f"is no JSON array: it begins with {_shown(text)}"
    if _LINES_OF_OBJECTS.match(text):
        return "holds JSON lines; set input.format to jsonl, or name it .jsonl"
    key = _key_of_list(text)
    if key is None:
        return "is one JSON object, no array; the records have to stand between [ and ]"
    if key in _RECORD_KEYS:
        return "is one record, no array of records; put it between [ and ]"
    return (
        f"is one JSON object, no array; its key {key!r} holds a list: write that list alone to a "
        f"file{f', as by `jq .{key} FILE`' if key.isidentifier() else ''}"
    )


def _no_lines(text: bytes) -> str | None:
    """Returns what is wrong with JSON lines as a whole, None where nothing is to be seen."""
    if b"\n" not in text and len(text) > HEAD_BYTES // 2:
        return None  # its first line is cut off
    lines = text.splitlines()
    if lines[0].rstrip(_BLANKS) == b"{":
        return (
            "holds an object over several lines; JSON lines have one record a line (`jq -c`), and an "
            "array stands between [ and ]"
        )
    if not any(line.lstrip(_BLANKS)[:1] == b"{" for line in lines):
        return f"holds no JSON lines: no line begins with {{; the first is {_shown(text)}"
    return None


def _is_first_of_lines(text: bytes) -> bool:
    first, _, more = text.partition(b"\n")
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return bool(more.strip(_BLANKS))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _key_of_list(text: bytes) -> str | None:
    """Returns the first key of an object that holds a list, None where none is to be seen."""
    scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
    data = text.decode("utf-8", "replace")
    at = _skip(data, 1)
    try:
        while data[at : at + 1] == '"':
            key, at = scan(data, at)
            at = _skip(data, _skip(data, at) + 1)  # over the colon
            if data[at : at + 1] == "[":
                return str(key)
            _, at = scan(data, at)
            at = _skip(data, _skip(data, at) + 1)  # over the comma
    except (json.JSONDecodeError, RecursionError):
        return None  # cut off, or broken: nothing can be told
    return None


def _skip(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _shown(text: bytes) -> str:
    first = text.splitlines()[0].decode("utf-8", "replace")
    return repr(first if len(first) <= _SHOWN_CHARS else f"{first[:_SHOWN_CHARS]}...")
