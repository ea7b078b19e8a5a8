import os
from pathlib import Path

import pytest

from align2llava.clients.wire.decoding import BrokenImageError, LargeImageError
from align2llava.pipeline.image_files import image_bytes


def test_file_of_the_limit_is_read(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"12345")
    assert image_bytes(tmp_path / "a", max_bytes=5) == b"12345"


def test_sparse_file_of_a_terabyte_is_refused_by_its_size(tmp_path: Path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(LargeImageError, match="has 1099511627776 bytes; the limit is 5"):
        image_bytes(tmp_path / "a", max_bytes=5)


def test_file_that_tells_no_size_is_read_up_to_the_limit():
    with pytest.raises(LargeImageError, match="has 6 bytes"):
        image_bytes(Path("/proc/self/status"), max_bytes=5)


def test_folder_and_name_of_no_file_are_refused_as_such(tmp_path: Path):
    with pytest.raises(BrokenImageError, match="is no file"):
        image_bytes(tmp_path, max_bytes=5)
    with pytest.raises(FileNotFoundError):
        image_bytes(tmp_path / "a\0b", max_bytes=5)


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(BrokenImageError, match="is no file"):
        image_bytes(tmp_path / "a", max_bytes=5)
