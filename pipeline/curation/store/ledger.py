"""The rewrite ledger on disk: what became of every turn that was to be aligned. Decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import polars as pl
import pyarrow as pa

from align2llava.clients.wire.schemas import Turn
from align2llava.pipeline.curation.disk.pending import Pending
from align2llava.pipeline.curation.disk.tables import TableKind, read_table, write_part
from align2llava.pipeline.curation.layout import REWRITES, AlignStatus, Gate, parts
from align2llava.pipeline.curation.store.one_model import require_one_model


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingUsed:
    """How rewrites were drawn; `max_tokens` 0 = bounded by the prompt's length."""

    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row of REWRITES. The original is always there, whatever was chosen."""

    uid: str
    turn: int
    original: Turn
    rewrite: Turn | None = None
    unparsed: str | None = None
    finish_reason: str | None = None
    gates: Mapping[Gate, bool] = field(default_factory=dict[Gate, bool])
    original_first: str | None = None
    rewrite_first: str | None = None
    verdict: str | None = None
    prompt_version: str | None = None
    identity: str | None = None
    sampling: SamplingUsed | None = None
    seed: int | None = None
    status: AlignStatus
    error_code: str | None = None

    def as_table_row(self) -> dict[str, object]:
        """Returns the row with the columns of REWRITES."""
        return {
            "uid": self.uid,
            "turn": self.turn,
            "original_question": self.original.question,
            "original_answer": self.original.answer,
            "rewrite_question": None if self.rewrite is None else self.rewrite.question,
            "rewrite_answer": None if self.rewrite is None else self.rewrite.answer,
            "unparsed": self.unparsed,
            "finish_reason": self.finish_reason,
            **{gate.column: self.gates.get(gate) for gate in Gate},
            "original_first": self.original_first,
            "rewrite_first": self.rewrite_first,
            "verdict": self.verdict,
            "prompt_version": self.prompt_version,
            "identity": self.identity,
            "sampling": None if self.sampling is None else asdict(self.sampling),
            "seed": self.seed,
            "status": str(self.status),
            "error_code": self.error_code,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the driver needs of a stored row."""

    original: Turn
    rewrite: Turn | None
    is_reviewed: bool
    identity: str | None
    sampling: SamplingUsed | None
    seed: int | None
    status: AlignStatus

    def is_verdict_on(self, original: Turn, *, is_review_on: bool) -> bool:
        """Returns whether it says what becomes of this original: a rewrite waits for its review where that is on."""
        waits = self.status is AlignStatus.REWRITTEN and is_review_on and not self.is_reviewed
        is_aligned = self.status is not AlignStatus.NOT_ALIGNED
        return self.original == original and is_aligned and not waits

    def goes_out(self, *, is_review_on: bool) -> bool:
        """Returns whether the rewrite takes the original's place: it passed the gates, and the review where on."""
        if self.rewrite is None:
            return False
        if is_review_on:
            return self.status is AlignStatus.REWRITTEN and self.is_reviewed
        return self.status in (AlignStatus.REWRITTEN, AlignStatus.ORIGINAL)


def goes_out(*, is_review_on: bool) -> pl.Expr:
    """Returns of which rows of REWRITES the rewrite goes out, as `Entry.goes_out` says."""
    if is_review_on:
        return (pl.col("status") == AlignStatus.REWRITTEN) & pl.col("verdict").is_not_null()
    return pl.col("status").is_in([AlignStatus.REWRITTEN, AlignStatus.ORIGINAL])


class Ledger:
    """The ledger of one run; a later row of a turn replaces an earlier one."""

    def __init__(self, folder: Path) -> None:
        """Reads what is stored.

        Raises:
            RunError: a part has another schema.
        """
        self._folder = folder
        self._entries: dict[tuple[str, int], Entry] = {}
        self._identities: set[str] = set()
        self._pending = Pending[LedgerRow](self._write)
        for path in parts(folder, "parquet"):
            table = read_table(path, TableKind.REWRITES)
            self._identities.update(table["identity"].drop_nulls().unique())
            for row in table.iter_rows(named=True):
                self._entries[row["uid"], row["turn"]] = _entry(row)

    def require(self, identity: str) -> None:
        """Checks that `identity` is the one whose rewrites are stored.

        Raises:
            EndpointError: rewrites of another model are stored.
        """
        require_one_model(self._identities, identity, what="rewrites")

    def find(self, uid: str, turn: int) -> Entry | None:
        """Returns what is known of a turn, None where nothing is."""
        return self._entries.get((uid, turn))

    def add(self, row: LedgerRow) -> None:
        """Takes the outcome of a turn; held back until `commit`."""
        self._entries[row.uid, row.turn] = Entry(
            original=row.original,
            rewrite=row.rewrite,
            is_reviewed=row.verdict is not None,
            identity=row.identity,
            sampling=row.sampling,
            seed=row.seed,
            status=row.status,
        )
        if row.identity is not None:
            self._identities.add(row.identity)
        self._pending.add(row)

    def add_not_aligned(self, uid: str, turn: int, original: Turn) -> None:
        """Takes that a turn goes out without a verdict, unless the ledger says so already."""
        status = AlignStatus.NOT_ALIGNED
        known = self.find(uid, turn)
        if known is None or known.original != original or known.status is not status:
            self.add(LedgerRow(uid=uid, turn=turn, original=original, status=status))

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

    def _write(self, rows: Sequence[LedgerRow]) -> None:
        cells = [row.as_table_row() for row in rows]
        table = pl.from_arrow(pa.Table.from_pylist(cells, schema=REWRITES))
        assert isinstance(table, pl.DataFrame)
        write_part(self._folder, TableKind.REWRITES, table)


def _entry(row: dict[str, object]) -> Entry:
    rewrite_question, sampling, seed = row["rewrite_question"], row["sampling"], row["seed"]
    return Entry(
        original=Turn(question=str(row["original_question"]), answer=str(row["original_answer"])),
        rewrite=None
        if rewrite_question is None
        else Turn(question=str(rewrite_question), answer=str(row["rewrite_answer"])),
        is_reviewed=row["verdict"] is not None,
        identity=None if row["identity"] is None else str(row["identity"]),
        sampling=SamplingUsed(**sampling) if isinstance(sampling, dict) else None,
        seed=seed if isinstance(seed, int) else None,
        status=AlignStatus(str(row["status"])),
    )
