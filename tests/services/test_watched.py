"""Files are looked at by their status, and not more often than once a second."""

import os
from pathlib import Path

from align2llava.services.watched import WatchedFiles


def test_change_is_told_once_and_at_most_once_a_second(tmp_path: Path):
    one = tmp_path / "one"
    one.write_text("a")
    now_s = [0.0]
    watched = WatchedFiles([one], now_s=lambda: now_s[0])
    one.write_text("longer")
    assert not watched.have_changed()
    now_s[0] = 1.0
    assert watched.have_changed()
    now_s[0] = 2.0
    assert not watched.have_changed()


def test_file_that_goes_or_is_swapped_by_its_link_has_changed(tmp_path: Path):
    now_s = [0.0]
    for name in ("old", "new"):
        (tmp_path / name).write_text("same")
        os.utime(tmp_path / name, ns=(0, 0))
    link = tmp_path / "link"
    link.symlink_to("old")
    watched = WatchedFiles([link], now_s=lambda: now_s[0])
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(link)
    now_s[0] += 1
    assert watched.have_changed()
    link.unlink()
    now_s[0] += 1
    assert watched.have_changed()
