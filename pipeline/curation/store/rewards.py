"""The rewards of one stage on disk: immutable parts, one group commit each. Decides nothing.

A reward is found by its content: uid, turn, candidate. A run holds rewards of one identity per
stage; stored rewards win over new ones.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import polars as pl

from align2llava.pipeline.curation.disk.pending import Pending
from align2llava.pipeline.curation.disk.scratch import prune, scratch_name
from align2llava.pipeline.curation.disk.tables import (
    TableKind,
    read_columns,
    scan_tables,
    write_part,
)
from align2llava.pipeline.curation.layout import SCORES, parts
from align2llava.pipeline.curation.store.one_model import require_one_model
from align2llava.pipeline.curation.store.reward_index import Key, StoredKeys
from align2llava.pipeline.curation.uids import as_number
from align2llava.pipeline.errors import RunError


class RewardRow(NamedTuple):
    """One row of SCORES."""

    uid: str
    turn: int
    candidate: int
    reward: float
    identity: str
    num_tokens: int
    truncated: bool
    device_ms: float


class RewardStore:
    """The rewards of one stage of one run; `add` holds rows back until `commit`."""

    def __init__(self, folder: Path, *, scratch: Path) -> None:
        """Looks at what is stored; `scratch` is a folder for the index of it.

        Raises:
            RunError: a part has another schema.
        """
        self._folder = folder
        self._closing = ExitStack()
        self._pending = Pending[RewardRow](self._write)
        self._pending_keys: set[Key] = set()
        stored = list(parts(folder, "parquet"))
        self._index = scratch / f"keys-{scratch_name(str(folder.resolve()))}.sqlite"
        self._identities = _identities_of(stored)

    @cached_property
    def _keys(self) -> StoredKeys:
        # Only who asks a service needs it; deciding reads the parts.
        keys = StoredKeys.of(self._index, list(parts(self._folder, "parquet")), read=_keys_of)
        self._closing.callback(keys.close)
        prune(self._index.parent, "keys-*.sqlite")
        return keys

    def require(self, identity: str) -> None:
        """Checks that `identity` is the one whose rewards are stored.

        Raises:
            EndpointError: rewards of another model are stored.
        """
        require_one_model(self._identities, identity, what=f"{self._folder.name} rewards")

    def holds(self, key: Key) -> bool:
        """Returns whether a key has its reward.

        Raises:
            StoreError: the scratch folder cannot be used.
        """
        return key in self._pending_keys or self._keys.holds(key)

    def add(self, rows: Iterable[RewardRow]) -> None:
        """Takes new rewards; one that is stored already is left as it is."""
        for row in rows:
            key = _key_of(row)
            if not self.holds(key):
                self._pending.add(row)
                self._pending_keys.add(key)
                self._identities.add(row.identity)

    @property
    def num_pending(self) -> int:
        """Returns how many rows are not on disk yet."""
        return len(self._pending)

    def commit(self) -> None:
        """Writes what is held back as one part.

        Raises:
            StoreError: the write failed; what is held back stays so.
        """
        self._pending.commit()

    def _write(self, rows: Sequence[RewardRow]) -> None:
        columns = zip(*map(_cells, rows), strict=True)
        table = pl.DataFrame(dict(zip(SCORES.names, columns, strict=True)))
        part = write_part(self._folder, TableKind.SCORES, table)
        keys = [_key_of(row) for row in rows]
        self._keys.add(part.name, keys)
        self._pending_keys.difference_update(keys)

    def close(self) -> None:
        """Closes the index; what is held back is lost, and parts may still be read."""
        self._closing.close()

    def rewards(self) -> pl.DataFrame:
        """Returns uid (UInt128), turn, candidate and reward (float32) of every stored key."""
        return stored_rewards(self._folder)


def stored_rewards(folder: Path) -> pl.DataFrame:
    """Returns uid (UInt128), turn, candidate and reward (float32) of every key of a folder of parts.

    Raises:
        RunError: a part cannot be read or has another schema.
    """
    key = ["uid", "turn", "candidate"]
    files = list(parts(folder, "parquet"))
    if not files:
        schema = {"uid": pl.UInt128, "turn": pl.Int32, "candidate": pl.Int32, "reward": pl.Float32}
        return pl.DataFrame(schema=schema)
    rows = scan_tables(files, TableKind.SCORES).select(as_number(), "turn", "candidate", "reward")
    stored = _collected(rows, folder)
    # Hashes tell in an eighth of the memory that no key is there twice, as is usual.
    if stored.select(pl.struct(key).hash().n_unique()).item() == stored.height:
        return stored
    return stored.unique(key, keep="first", maintain_order=True)


_cells = attrgetter(*SCORES.names)
_key_of = attrgetter("uid", "turn", "candidate")


def _keys_of(path: Path) -> list[Key]:
    return read_columns(path, TableKind.SCORES, ("uid", "turn", "candidate")).rows()


def _identities_of(files: list[Path]) -> set[str]:
    if not files:
        return set()
    found = scan_tables(files, TableKind.SCORES).select(pl.col("identity").unique())
    return set(_collected(found, files[0].parent)["identity"])


def _collected(rows: pl.LazyFrame, folder: Path) -> pl.DataFrame:
    try:
        return rows.collect(engine="streaming")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{folder} cannot be read: {error}") from error
