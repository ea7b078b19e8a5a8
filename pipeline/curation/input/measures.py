"""The lengths of every record of an input, and the whole text of a chosen few."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.curation.input.records import Record
from align2llava.pipeline.curation.input.scan import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPass:
    """`lengths` by position, null where a record is not usable; `records` holds those asked for."""

    lengths: pl.DataFrame
    records: dict[int, Record]


def read_texts(scan: Scan, *, wanted: Collection[int]) -> TextPass:
    """Reads the wanted texts. Words are what blanks separate; candidate 0 stands for an answer.

    Raises:
        InputError: a file cannot be read.
    """
    names = ("question_words", "answer_words", "num_turns")
    is_usable = pl.col("num_turns") > 0
    columns = (pl.when(is_usable).then(pl.col(name)).cast(pl.UInt32).alias(name) for name in names)
    lengths = scan.table.lazy().select(columns).collect(engine="streaming")
    positions = pl.Series("position", sorted(wanted), dtype=pl.Int64)
    outcomes = ((row, scan.corpus.outcome(raw)) for row, raw in scan.raws(positions))
    return TextPass(
        lengths=lengths,
        records={row.position: one for row, one in outcomes if isinstance(one, Record)},
    )
