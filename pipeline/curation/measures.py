"""The lengths of every record of an input, and the whole text of a chosen few."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from pipeline.curation.records import Record
from pipeline.curation.scan import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPass:
    """`lengths` has a row per usable record; `records` holds those asked for, by position."""

    lengths: pl.DataFrame
    records: dict[int, Record]


def read_texts(scan: Scan, *, wanted: Collection[int]) -> TextPass:
    """Reads the wanted texts. Words are what blanks separate; candidate 0 stands for an answer.

    Raises:
        InputError: a file cannot be read.
    """
    lengths = scan.table.frame("position", "question_words", "answer_words", "num_turns")
    rows = scan.table.rows(pl.Series("position", sorted(wanted), dtype=pl.Int64))
    outcomes = ((row, scan.corpus.outcome(raw)) for row, raw in scan.corpus.raws(rows))
    return TextPass(
        lengths=lengths.filter(pl.col("num_turns") > 0),
        records={row.position: one for row, one in outcomes if isinstance(one, Record)},
    )
