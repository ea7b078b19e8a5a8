"""One pass over a run's texts: lengths of every record, and the whole text of a chosen few."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from pipeline.config import InputConfig
from pipeline.curation.corpus import Corpus
from pipeline.curation.records import Record, read_record

_SCHEMA = {
    "position": pl.Int64,
    "question_words": pl.Int64,
    "answer_words": pl.Int64,
    "num_turns": pl.Int64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPass:
    """`lengths` has a row per usable record; `records` holds those asked for, by position."""

    lengths: pl.DataFrame
    records: dict[int, Record]


def read_texts(corpus: Corpus, config: InputConfig, *, wanted: Collection[int]) -> TextPass:
    """Streams the input once. Words are what blanks separate; candidate 0 stands for an answer.

    Raises:
        InputError: a file cannot be read.
    """
    rows: list[tuple[int, int, int, int]] = []
    records: dict[int, Record] = {}
    for positioned in corpus.elements():
        outcome = read_record(
            positioned.element.raw,
            configured_type=positioned.configured_type,
            max_text_chars=config.max_text_chars,
        ).outcome
        if not isinstance(outcome, Record):
            continue
        rows.append((positioned.position, *_lengths(outcome)))
        if positioned.position in wanted:
            records[positioned.position] = outcome
    return TextPass(lengths=pl.DataFrame(rows, schema=_SCHEMA, orient="row"), records=records)


def _lengths(record: Record) -> tuple[int, int, int]:
    questions = sum(len(turn.question.split()) for turn in record.turns)
    answers = sum(len(turn.answers[0].split()) for turn in record.turns)
    return questions, answers, len(record.turns)
