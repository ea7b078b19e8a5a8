"""Which rewards a folder of parts holds: an index in the scratch folder, so that memory stays flat.

Only a cache: the parts are the truth. It knows which parts it has read and reads the others; one
that knows a part which is gone is made again.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

from align2llava.pipeline.errors import StoreError

Key = tuple[str, int, int]  # uid, turn, candidate
_CACHE_KIB = 16 * 1024
FILTER_BITS = 2**25  # a Bloom filter of 4 MiB: 0.1 % wrong "perhaps" at 1.5 million keys
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS parts(name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS keys(key BLOB PRIMARY KEY) WITHOUT ROWID",
)


class StoredKeys:
    """The keys of one folder's parts; used by one driver at a time, from any of its threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._one_at_a_time = threading.Lock()
        self._filter = bytearray(FILTER_BITS // 8)

    @classmethod
    def of(cls, path: Path, parts: Iterable[Path], *, read: Callable[[Path], list[Key]]) -> Self:
        """Returns the index of `parts`, which is kept at `path`; `read` gives the keys of one.

        Raises:
            StoreError: the scratch folder cannot be written.
        """
        try:
            return cls._of(path, list(parts), read)
        except sqlite3.Error:
            path.unlink(missing_ok=True)  # broken: only a cache
        try:
            return cls._of(path, list(parts), read)
        except sqlite3.Error as error:
            raise StoreError(f"cannot use {path}: {error}") from error

    @classmethod
    def _of(cls, path: Path, parts: Sequence[Path], read: Callable[[Path], list[Key]]) -> Self:
        wanted = {part.name: part for part in parts}
        with ExitStack() as where_it_fails:
            keys = cls(where_it_fails.enter_context(closing(_opened(path))))
            if not keys.part_names() <= wanted.keys():
                keys.close()
                path.unlink()
                keys = cls(where_it_fails.enter_context(closing(_opened(path))))
            for name in sorted(wanted.keys() - keys.part_names()):
                keys.add(name, read(wanted[name]))
            keys.fill_filter()
            where_it_fails.pop_all()
            return keys

    def part_names(self) -> set[str]:
        """Returns the names of the parts that were read."""
        with self._one_at_a_time:
            return {name for (name,) in self._connection.execute("SELECT name FROM parts")}

    def holds(self, key: Key) -> bool:
        """Returns whether a part holds the key.

        Raises:
            StoreError: the index cannot be read.
        """
        packed = _packed(key)
        if not all(self._filter[bit >> 3] & 1 << (bit & 7) for bit in _bits(packed)):
            return False
        try:
            with self._one_at_a_time:
                found = self._connection.execute("SELECT 1 FROM keys WHERE key = ?", (packed,))
                return found.fetchone() is not None
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the index of rewards: {error}") from error

    def add(self, part_name: str, keys: Iterable[Key]) -> None:
        """Takes the keys of a part that is on disk.

        Raises:
            StoreError: the index cannot be written.
        """
        try:
            with self._one_at_a_time, self._connection:
                packed = [_packed(key) for key in keys]
                rows = ((one,) for one in packed)
                self._connection.executemany("INSERT OR IGNORE INTO keys VALUES (?)", rows)
                self._connection.execute("INSERT INTO parts VALUES (?)", (part_name,))
                for one in packed:
                    self._note(one)
        except sqlite3.Error as error:
            raise StoreError(f"cannot write the index of rewards: {error}") from error

    def fill_filter(self) -> None:
        """Notes every key in the filter, by which most keys that are not held are known at once."""
        with self._one_at_a_time:
            for (packed,) in self._connection.execute("SELECT key FROM keys"):
                self._note(packed)

    def _note(self, packed: bytes) -> None:
        for bit in _bits(packed):
            self._filter[bit >> 3] |= 1 << (bit & 7)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    with ExitStack() as where_it_fails:
        where_it_fails.callback(connection.close)
        connection.execute("PRAGMA journal_mode = TRUNCATE")  # stands a killed process
        connection.execute("PRAGMA synchronous = OFF")  # a crashed machine makes it again
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        for statement in _SCHEMA:
            connection.execute(statement)
        where_it_fails.pop_all()
    return connection


def _packed(key: Key) -> bytes:
    uid, turn, candidate = key
    place = turn.to_bytes(4, "little", signed=True) + candidate.to_bytes(4, "little")
    return bytes.fromhex(uid) + place


def _bits(packed: bytes) -> tuple[int, int, int, int]:
    # A uid is a hash itself; turn and candidate move its parts apart.
    place = int.from_bytes(packed[16:], "little") * 0x9E3779B97F4A7C15
    first, second = int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:16], "little")
    mask = FILTER_BITS - 1
    mixed = (first ^ place) & 0xFFFFFFFFFFFFFFFF
    return mixed & mask, (mixed >> 25) & mask, (second ^ place) & mask, (second >> 25) & mask
