from pathlib import Path

import pytest

from pipeline.curation.durable import next_part, write_durably
from pipeline.errors import StoreError


def test_file_is_replaced_whole_and_nothing_is_left_beside(tmp_path: Path):
    path = tmp_path / "new" / "a"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_is_an_error_and_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "a"
    write_durably(path, b"one")
    (tmp_path / ".a.tmp").mkdir()  # in the way
    with pytest.raises(StoreError, match="cannot write"):
        write_durably(path, b"two")
    assert path.read_bytes() == b"one"


def test_parts_are_numbered_on(tmp_path: Path):
    assert next_part(tmp_path, "jsonl").name == "part-000001.jsonl"
    (tmp_path / "part-000007.jsonl").touch()
    (tmp_path / "part-000009.parquet").touch()
    assert next_part(tmp_path, "jsonl").name == "part-000008.jsonl"
