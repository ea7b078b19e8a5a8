import re
from pathlib import Path

import pytest

from align2llava.pipeline.curation.disk.files import (
    whole_file,
    write_durably,
    write_next_part,
)
from align2llava.pipeline.errors import StoreError


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


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_file_whose_writer_fails_or_is_stopped_is_not_there(
    tmp_path: Path, error: type[BaseException]
):
    def write() -> None:
        with whole_file(tmp_path / "a") as file:
            file.write(b"half")
            raise error

    with pytest.raises(StoreError if error is OSError else error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_parts_are_numbered_on_and_named_by_their_content(tmp_path: Path):
    first = write_next_part(tmp_path, "jsonl", b"one")
    assert first.read_bytes() == b"one"
    assert re.fullmatch(r"part-000001-[0-9a-f]{16}\.jsonl", first.name)
    (tmp_path / "part-000007-0.jsonl").touch()
    (tmp_path / "part-000009-0.parquet").touch()
    again = write_next_part(tmp_path, "jsonl", b"one")
    assert again.name == first.name.replace("000001", "000008")
