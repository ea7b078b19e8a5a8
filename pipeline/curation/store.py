"""Rewards on disk: append-only parquet parts, one group commit each. Decides nothing.

A reward is found by its content: uid, turn, candidate. A run holds rewards of one identity per
stage; stored rewards win over new ones.
"""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.curation.layout import parts
from pipeline.curation.tables import TableKind, read_table, write_part
from pipeline.errors import EndpointError

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
        self._committing = threading.Lock()
        self._rewards: dict[Key, float] = {}
        self._identities: set[str] = set()
        self._pending: list[RewardRow] = []
        for path in parts(folder, "parquet"):
            table = read_table(path, TableKind.SCORES)
            columns = table.select("uid", "turn", "candidate", "reward")
            for uid, turn, candidate, reward in columns.iter_rows():
                self._rewards.setdefault((uid, turn, candidate), reward)
            self._identities.update(table["identity"].unique())

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
        # A cancelled call may still commit in its thread while the last commit begins.
        with self._committing:
            pending, self._pending = self._pending, []
            if pending:
                write_part(self._folder, TableKind.SCORES, [asdict(row) for row in pending])
