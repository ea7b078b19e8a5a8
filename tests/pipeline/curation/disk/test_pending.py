"""Rows that wait for a commit: written once, in order, and not lost where the disk refuses."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from align2llava.pipeline.curation.disk.pending import Pending
from align2llava.pipeline.errors import StoreError


def test_rows_are_written_together_and_once():
    written: list[list[int]] = []
    pending = Pending[int](lambda rows: written.append(list(rows)))
    for row in (1, 2):
        pending.add(row)
    assert len(pending) == 2
    pending.commit()
    pending.commit()
    assert (written, len(pending)) == ([[1, 2]], 0)


def test_rows_that_could_not_be_written_are_written_by_the_next_commit():
    written: list[int] = []
    is_full = True

    def write(rows: Sequence[int]) -> None:
        if is_full:
            raise StoreError("no space")
        written.extend(rows)

    pending = Pending[int](write)
    pending.add(1)
    with pytest.raises(StoreError):
        pending.commit()
    is_full = False
    pending.add(2)
    pending.commit()
    assert (written, len(pending)) == ([1, 2], 0)


def test_a_row_that_comes_while_others_are_written_waits_for_the_next_commit():
    written: list[list[int]] = []
    is_writing, goes_on = Event(), Event()

    def write(rows: Sequence[int]) -> None:
        is_writing.set()
        assert goes_on.wait(20)
        written.append(list(rows))

    pending = Pending[int](write)
    pending.add(1)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pending.commit)
        assert is_writing.wait(20)
        pending.add(2)
        second = threads.submit(pending.commit)
        goes_on.set()
        first.result()
        second.result()
    assert written == [[1], [2]]
