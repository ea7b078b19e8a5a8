"""What the ledger says goes out, by row and by table; and that nothing it holds back is lost."""

from itertools import product
from pathlib import Path

import polars as pl
import pytest

from align2llava.clients.wire.schemas import Turn
from align2llava.pipeline.curation.layout import AlignStatus
from align2llava.pipeline.curation.store.ledger import Ledger, LedgerRow, goes_out
from align2llava.pipeline.errors import StoreError

ORIGINAL = Turn(question="What is it?", answer="Red.")
REWRITE = Turn(question="What colour has it?", answer="It is red.")


def row(turn: int, status: AlignStatus, *, is_reviewed: bool) -> LedgerRow:
    has_rewrite = status in (AlignStatus.REWRITTEN, AlignStatus.ORIGINAL)
    return LedgerRow(
        uid="0" * 32,
        turn=turn,
        original=ORIGINAL,
        rewrite=REWRITE if has_rewrite else None,
        verdict=("rewrite" if status is AlignStatus.REWRITTEN else "original")
        if is_reviewed
        else None,
        status=status,
    )


@pytest.mark.parametrize("is_review_on", [True, False])
def test_a_table_and_its_entries_say_the_same_of_what_goes_out(tmp_path: Path, is_review_on: bool):
    written = Ledger(tmp_path)
    for turn, (status, is_reviewed) in enumerate(product(AlignStatus, (True, False))):
        written.add(row(turn, status, is_reviewed=is_reviewed))
    written.commit()
    stored = Ledger(tmp_path)
    table = pl.read_parquet(next(tmp_path.glob("part-*.parquet")))
    by_table = table.select("turn", out=goes_out(is_review_on=is_review_on)).rows()
    by_entry = [
        (turn, entry.goes_out(is_review_on=is_review_on))
        for turn in table["turn"]
        if (entry := stored.find("0" * 32, turn))
    ]
    assert by_entry == by_table
    assert {out for _, out in by_table} == {True, False}


@pytest.mark.parametrize(
    ("status", "is_reviewed", "is_review_on", "is_verdict"),
    [
        (AlignStatus.REWRITTEN, True, True, True),
        (AlignStatus.REWRITTEN, False, True, False),  # its review is missing
        (AlignStatus.REWRITTEN, False, False, True),
        (AlignStatus.HARD_FORMAT, False, True, True),
        (AlignStatus.NOT_ALIGNED, False, False, False),
    ],
)
def test_an_entry_is_a_verdict_on_its_own_original_alone(
    tmp_path: Path, status: AlignStatus, is_reviewed: bool, is_review_on: bool, is_verdict: bool
):
    ledger = Ledger(tmp_path)
    ledger.add(row(0, status, is_reviewed=is_reviewed))
    entry = ledger.find("0" * 32, 0)
    assert entry is not None
    assert entry.is_verdict_on(ORIGINAL, is_review_on=is_review_on) is is_verdict
    assert not entry.is_verdict_on(REWRITE, is_review_on=is_review_on)


def test_a_turn_without_a_verdict_is_noted_once(tmp_path: Path):
    ledger = Ledger(tmp_path)
    for original in (ORIGINAL, ORIGINAL, REWRITE):  # another candidate was chosen then
        ledger.add_not_aligned("0" * 32, 0, original)
    assert ledger.num_pending == 2


def test_rows_that_a_full_disk_refused_are_in_the_next_commit(tmp_path: Path):
    folder = tmp_path / "rewrites"
    ledger = Ledger(folder)
    ledger.add(row(0, AlignStatus.HARD_FORMAT, is_reviewed=False))
    folder.write_bytes(b"in the way")
    with pytest.raises(StoreError):
        ledger.commit()
    folder.unlink()
    ledger.commit()
    assert Ledger(folder).find("0" * 32, 0) is not None
