"""Rewards on disk: append-only parquet parts, one group commit each. Decides nothing.

A reward is found by its content: uid, turn, candidate. A run holds rewards of one identity per
stage; stored rewards win over new ones.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.curation.durable import next_part, write_durably
from pipeline.curation.layout import SCORES, parts
from pipeline.errors import EndpointError, RunError

Key = tuple[str, int, int]  # uid, turn, candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardRow:
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

    def __init__(self, folder: Path) -> None:
        """Reads what is stored.

        Raises:
            RunError: a part has another schema.
        """
        self._folder = folder
        self._rewards: dict[Key, float] = {}
        self._identities: set[str] = set()
        self._pending: list[RewardRow] = []
        for path in parts(folder, "parquet"):
            table = read_part(path, SCORES)
            columns = [table[name].to_pylist() for name in ("uid", "turn", "candidate", "reward")]
            for uid, turn, candidate, reward in zip(*columns, strict=True):
                self._rewards.setdefault((uid, turn, candidate), reward)
            self._identities.update(table["identity"].unique().to_pylist())

    def require(self, identity: str) -> None:
        """Checks that `identity` is the one whose rewards are stored.

        Raises:
            EndpointError: rewards of another model are stored.
        """
        others = sorted(self._identities - {identity})
        if others:
            raise EndpointError(
                f"the run holds {self._folder.name} rewards of {others[0]}; "
                f"the endpoint answers as {identity}; take a new --run-dir"
            )

    def find(self, key: Key) -> float | None:
        """Returns the reward of a key, None where it has none yet."""
        return self._rewards.get(key)

    def add(self, rows: Iterable[RewardRow]) -> None:
        """Takes new rewards; one that is stored already is left as it is."""
        for row in rows:
            key = (row.uid, row.turn, row.candidate)
            if key not in self._rewards:
                self._rewards[key] = row.reward
                self._identities.add(row.identity)
                self._pending.append(row)

    @property
    def num_pending(self) -> int:
        """Returns how many rows are not on disk yet."""
        return len(self._pending)

    def commit(self) -> None:
        """Writes what is held back as one part.

        Raises:
            StoreError: the write failed.
        """
        pending, self._pending = self._pending, []
        if pending:
            write_part(self._folder, SCORES, [asdict(row) for row in pending])


def write_part(folder: Path, schema: pa.Schema, rows: Sequence[dict[str, object]]) -> None:
    """Writes rows as the next part of a folder.

    Raises:
        StoreError: the write failed.
    """
    write_durably(next_part(folder, "parquet"), parquet_bytes(schema, rows))


def parquet_bytes(schema: pa.Schema, rows: Sequence[dict[str, object]]) -> bytes:
    """Returns rows as the bytes of a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def read_part(path: Path, schema: pa.Schema) -> pa.Table:
    """Returns a parquet file of the schema.

    Raises:
        RunError: it is none, or of another schema (a run of another version).
    """
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not table.schema.equals(schema):
        raise RunError(f"{path} is of another version of a2l; take a new --run-dir")
    return table
