"""Size and composition of the raw set, the selection and its null baselines, side by side. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.curation.figures.decisions import types_of
from align2llava.pipeline.curation.layout import Decision
from align2llava.pipeline.curation.selection.baselines import RULES, all_baselines

RAW = "raw"
KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFigures:
    """One set of records; means are over records that can be read, rewards over scored ones."""

    set: str
    rule: str
    num_records: int
    num_also_kept: int
    types: dict[str, int]
    mean_question_words: float | None
    mean_answer_words: float | None
    mean_turns: float | None
    mean_question_reward: float | None
    mean_answer_reward: float | None


def compared_sets(table: pl.DataFrame, *, seed: int) -> dict[str, pl.DataFrame]:
    """Returns the rows of each set: raw, kept, then the baselines that can be drawn."""
    drawn = all_baselines(table, seed=seed)
    table = table.drop("uid")
    sets = {RAW: table, KEPT: table.filter(pl.col("decision") == Decision.KEPT)}
    for name, positions in drawn.items():
        sets[name.value] = table.filter(pl.col("position").is_in(positions))
    return sets


def set_figures(sets: Mapping[str, pl.DataFrame]) -> list[SetFigures]:
    """Returns the figures of each set, in order."""
    rules = {RAW: "every input record", KEPT: "the selection of this run"}
    rules |= {name.value: rule for name, rule in RULES.items()}
    return [_figures(name, rows, rule=rules[name]) for name, rows in sets.items()]


def _figures(name: str, rows: pl.DataFrame, *, rule: str) -> SetFigures:
    counts = rows["type"].value_counts()
    return SetFigures(
        set=name,
        rule=rule,
        num_records=rows.height,
        num_also_kept=rows.filter(pl.col("decision") == Decision.KEPT).height,
        types={kind: dict(counts.rows())[kind] for kind in types_of(rows)},
        mean_question_words=_mean(rows["question_words"]),
        mean_answer_words=_mean(rows["answer_words"]),
        mean_turns=_mean(rows["num_turns"]),
        mean_question_reward=_mean(rows["question_reward"]),
        mean_answer_reward=_mean(rows["answer_reward"]),
    )


def _mean(column: pl.Series) -> float | None:
    mean = column.cast(pl.Float64).mean()
    return float(mean) if isinstance(mean, int | float) else None
