import gzip
import io
import json
import os
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from align2llava.pipeline.config.schema import InputPath
from align2llava.pipeline.curation.input.files import dialect_of
from align2llava.pipeline.curation.input.forms import (
    HEAD_BYTES,
    Dialect,
    check_is_file,
    compression_of,
    dialect_in,
)
from align2llava.pipeline.errors import InputError

RECORD = {"id": 1, "conversations": [{"from": "human", "value": "a"}]}
PATH = Path("a")
TABLE = pa.table({"id": [1, 2]})


def refusal(data: bytes, named: Dialect | None) -> str:
    with pytest.raises(InputError) as caught:
        dialect_in(data[:HEAD_BYTES], path=PATH, named=named)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("a: ")


def dumped(value: object, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent).encode()


def _parquet(path: Path) -> None:
    pyarrow.parquet.write_table(TABLE, path)


def _arrow(path: Path) -> None:
    pyarrow.feather.write_feather(TABLE, str(path))


def _stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)


def _bzip2(path: Path) -> None:
    with pa.CompressedOutputStream(str(path), "bz2") as sink:
        sink.write(dumped([RECORD]))


def _lz4(path: Path) -> None:
    with pa.CompressedOutputStream(str(path), "lz4") as sink:
        sink.write(dumped([RECORD]))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("raw.json", dumped([RECORD]))


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        info = tarfile.TarInfo("raw.json")
        info.size = 2
        file.addfile(info, io.BytesIO(b"[]"))


def _tar_gz(path: Path) -> None:
    _tar(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table a (b)")
    connection.close()


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 1000 + b"\n{" * 1000)


def _utf16(path: Path) -> None:
    path.write_text(json.dumps([RECORD]), encoding="utf-16")


def _utf16_bare(path: Path) -> None:
    path.write_text(json.dumps([RECORD]), encoding="utf-16-le")


def _utf16_bare_big(path: Path) -> None:
    path.write_text(json.dumps([RECORD]), encoding="utf-16-be")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(_parquet, "is a Parquet file", id="parquet"),
        pytest.param(_arrow, "is an Arrow file", id="arrow"),
        pytest.param(_stream, "is an Arrow stream", id="arrow stream"),
        pytest.param(_bzip2, "is compressed with bzip2", id="bzip2"),
        pytest.param(_lz4, "is compressed with lz4", id="lz4"),
        pytest.param(_zip, "is a zip file", id="zip"),
        pytest.param(_tar, "is a tar file", id="tar"),
        pytest.param(_tar_gz, "is a tar file", id="tar in gzip"),
        pytest.param(_sqlite, "is an SQLite database", id="sqlite"),
        pytest.param(_binary, "is a binary file (byte 0 is 0)", id="binary"),
        pytest.param(_utf16, "is UTF-16 text", id="UTF-16"),
        pytest.param(_utf16_bare, "is UTF-16 text", id="UTF-16 without a mark"),
        pytest.param(_utf16_bare_big, "is UTF-16 text", id="UTF-16 big endian without a mark"),
    ],
)
@pytest.mark.parametrize("name", ["raw.json", "raw.jsonl", "raw", "raw.json.gz"])
def test_form_that_is_not_read_is_named(
    tmp_path: Path, write: Callable[[Path], None], words: str, name: str
):
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError) as caught:
        dialect_of(InputPath(path=path), input_format="auto")
    assert words in str(caught.value)
    assert "read are JSON arrays and JSON lines in UTF-8" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dumped({"version": 1, "data": [RECORD]}), "its key 'data' holds a list"),
        (dumped({"version": {"a": [1]}, "data": [RECORD]}, 1), "`jq .data FILE`"),
        (dumped({"a b": [RECORD]}), "its key 'a b' holds a list: write that list alone to a file"),
        (dumped(RECORD, 2), "is one record, no array of records; put it between [ and ]"),
        (dumped({"messages": []}), "is one record"),
        (dumped({"a": 1}), "is one JSON object, no array"),
        (b'{"a": ', "is one JSON object, no array"),
        (b'{"a": ' + b"[" * 9 + b'"x', "its key 'a' holds a list"),
        (b'{"a": ' + b'{"b": ' * 100_000, "is one JSON object, no array"),
        (dumped(RECORD) + b"\n" + dumped(RECORD), "holds JSON lines; set input.format to jsonl"),
        (b"id,image\n1,a.png\n", "is no JSON array: it begins with 'id,image'"),
        (b"\x1b[31mred", "is no JSON array: it begins with '\\x1b[31mred'"),
        (b"", "is empty"),
        (b" \n\xa0"[:2], "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
    ],
)
def test_file_that_is_no_array_is_told_what_it_is(data: bytes, words: str):
    assert words in refusal(data, "json")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dumped([RECORD]), "is a JSON array; set input.format to json"),
        (dumped([RECORD, RECORD], 1) + b"\n", "is a JSON array"),
        (b"[\n", "is a JSON array"),
        (b"\xef\xbb\xbf [ ]\n", "is a JSON array"),
        (dumped({"data": [RECORD]}, 1), "holds an object over several lines"),
        (b"id,image\n1,a.png\n", "no line begins with {; the first is 'id,image'"),
        (b"- id: 1\n  image: a.png\n", "holds no JSON lines"),
    ],
)
def test_file_that_holds_no_lines_is_told_what_it_is(data: bytes, words: str):
    assert words in refusal(data, "jsonl")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(dumped(RECORD), id="one line"),
        pytest.param(b"[1, 2]\n" + dumped(RECORD), id="a bad line first"),
        pytest.param(dumped([RECORD]) + b"\n" + dumped(RECORD), id="a line in brackets first"),
        pytest.param(b"[]\n" + dumped(RECORD), id="an empty array first"),
        pytest.param(b"\0\0\0\n" + dumped(RECORD), id="a line of zero bytes first"),
        pytest.param(b"# made by hand\n" + dumped(RECORD), id="a comment first"),
        pytest.param(b'{"a": "' + b"x" * 2 * HEAD_BYTES, id="a line beyond what is looked at"),
        pytest.param(b"x" * 2 * HEAD_BYTES, id="a bad line beyond what is looked at"),
    ],
)
def test_a_bad_line_is_no_form(data: bytes):
    assert dialect_in(data[:HEAD_BYTES], path=PATH, named="jsonl") == "jsonl"


def test_csv_without_a_known_name_is_no_input():
    assert "the first is 'id,image'" in refusal(b"id,image\n1,a.png\n", None)


def test_pipe_is_refused_and_never_opened(tmp_path: Path):
    path = tmp_path / "raw.json"
    os.mkfifo(path)
    with pytest.raises(InputError, match="a pipe can be read only once") as caught:
        dialect_of(InputPath(path=path), input_format="auto")
    assert "save it to a file first" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dev/null", "a device can be read only once"),
        ("/dev/stdin", "can be read only once"),
        (".", "is a folder"),
        ("nowhere", "No such file"),
    ],
)
def test_what_is_no_file_is_refused(path: str, words: str):
    with pytest.raises(InputError, match=words):
        check_is_file(Path(path))


def test_open_file_of_this_process_is_no_input(tmp_path: Path):
    path = tmp_path / "raw.json"
    path.write_bytes(b"[]")
    with path.open("rb") as file, pytest.raises(InputError, match="an open file of this process"):
        check_is_file(Path(f"/dev/fd/{file.fileno()}"))


def test_skippable_frames_of_zstd_are_zstd():
    assert compression_of(b"\x50\x2a\x4d\x18") == "zstd"
    assert compression_of(b"\x28\xb5\x2f\xfd") == "zstd"
    assert compression_of(b"[1]") == "none"
