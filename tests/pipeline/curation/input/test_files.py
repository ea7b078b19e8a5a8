import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from align2llava.pipeline.config.schema import InputPath
from align2llava.pipeline.curation.input.files import (
    ArrayStyle,
    dialect_of,
    opened_at,
    read_elements,
)
from align2llava.pipeline.curation.input.forms import Dialect
from align2llava.pipeline.errors import InputError


def raws(path: Path, dialect: Dialect) -> list[bytes]:
    return [element.raw for element in read_elements(path, dialect)]


@pytest.mark.parametrize(
    ("name", "data", "dialect"),
    [
        ("a.json", b"[]", "json"),
        ("a.jsonl", b"{}", "jsonl"),
        ("a.JSONL", b"{}", "jsonl"),
        ("a.ndjson", b"{}", "jsonl"),
        ("a.jsonl.GZ", b"{}", "jsonl"),
        ("a.json.zst", b"[1]", "json"),
        ("a.txt", b" \n[1]", "json"),
        ("a", b"{}\n{}", "jsonl"),
    ],
)
def test_dialect_is_told_by_suffix_then_by_content(
    tmp_path: Path, name: str, data: bytes, dialect: str
):
    path = tmp_path / name
    path.write_bytes(data)
    assert dialect_of(InputPath(path=path), input_format="auto") == dialect


def test_configured_format_is_over_the_name(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"[\n{}\n]")
    assert dialect_of(InputPath(path=path), input_format="json") == "json"
    for input_format in ("auto", "jsonl"):
        with pytest.raises(InputError, match="is a JSON array; set input"):
            dialect_of(InputPath(path=path), input_format=input_format)


def test_lines_come_as_they_are_without_their_ends(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"b":  "\xff"}\n{"c"')
    assert raws(path, "jsonl") == [b'{"a": 1}', b'{"b":  "\xff"}', b'{"c"']


@pytest.mark.parametrize("suffix", [".gz", ".zst", "", ".bak"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_compressed_files_are_read_as_plain_ones_whatever_their_name_is(
    tmp_path: Path, suffix: str, compression: str
):
    data = b'{"a": 1}\n{"b": 2}\n'
    path = tmp_path / f"a.jsonl{suffix}"
    if compression == "none":
        path.write_bytes(data)
    elif compression == "gzip":
        path.write_bytes(gzip.compress(data))
    else:
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(data)
    assert dialect_of(InputPath(path=path), input_format="auto") == "jsonl"
    assert raws(path, "jsonl") == [b'{"a": 1}', b'{"b": 2}']
    with opened_at(path) as take:
        assert take(9, 8) == b'{"b": 2}'


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_broken_compression_names_the_file(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-20])
    with pytest.raises(InputError, match=r"a\.jsonl"):
        raws(path, "jsonl")


def test_missing_file_is_one_line(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        raws(tmp_path / "a.json", "json")


def test_syntax_error_names_file_and_byte(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"a": 1} {"b": 2}]')
    with pytest.raises(InputError, match=r"a\.json: byte 10: ") as caught:
        raws(path, "json")
    assert caught.value.offset == 10


def test_style_is_what_stands_around_the_elements(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"[\n  1 ,\n  2,\n  3\n]")
    styles: list[ArrayStyle] = []
    list(read_elements(path, "json", on_style=styles.append))
    assert styles == [ArrayStyle(opening=b"[\n  ", between=b" ,\n  ", closing=b"\n]")]


@pytest.mark.parametrize("data", [b"[]", b" [ ] "])
def test_empty_array_has_the_usual_style(tmp_path: Path, data: bytes):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    styles: list[ArrayStyle] = []
    assert list(read_elements(path, "json", on_style=styles.append)) == []
    assert styles == [ArrayStyle()]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_bytes_are_found_again_at_their_offsets(tmp_path: Path, suffix: str):
    lines = [json.dumps({"a": "x" * number}).encode() for number in range(0, 3000, 7)]
    data = b"\xef\xbb\xbf" + b"\r\n\n  ".join(lines)
    path = tmp_path / f"a.jsonl{suffix}"
    if suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes(gzip.compress(data) if suffix else data)
    found = list(read_elements(path, "jsonl"))
    assert [one.raw for one in found] == lines
    with opened_at(path) as take:
        again = [take(one.offset, len(one.raw)) for one in found[::3]]
        assert again == lines[::3]
        assert take(len(data) + 9, 5) == b""
