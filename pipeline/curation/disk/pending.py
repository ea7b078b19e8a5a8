"""Rows that are held back until a commit writes them together."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Row = TypeVar("Row")


class Pending(Generic[Row]):
    """Rows that are not on disk yet. A call that was cancelled may still commit in its thread beside another commit."""

    def __init__(self, write: Callable[[Sequence[Row]], object]) -> None:
        """Commits by `write`, which puts its rows on disk whole or raises."""
        self._write = write
        self._rows: list[Row] = []
        self._committing = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> None:
        """Takes a row."""
        self._rows.append(row)

    def commit(self) -> None:
        """Writes the rows held back so far; where that fails, they stay held back.

        Raises:
            StoreError: the write failed.
        """
        with self._committing:
            rows = self._rows[:]
            if rows:
                self._write(rows)
                del self._rows[: len(rows)]
