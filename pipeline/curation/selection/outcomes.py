"""From stored rewards to the outcome of each stage. Asks no service.

A record is scored only where every one of its rewards is stored; one that lacks a reward has a
fault from its service, or is missing.
"""

from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.config.schema import SelectionConfig
from align2llava.pipeline.curation.layout import QUESTION_TURN
from align2llava.pipeline.curation.selection.answer_rewards import record_rewards
from align2llava.pipeline.curation.selection.decisions import (
    Answers,
    StageOutcome,
    all_pass,
    select,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What one stage has: `slots` (uid, turn, candidate, reward), `faults` (uid, code, message).

    Uids are UInt128.
    """

    slots: pl.DataFrame
    faults: pl.DataFrame
    selection: SelectionConfig
    seed: int


def question_outcome(records: pl.DataFrame, scored: Scored) -> StageOutcome:
    """Returns the question stage's outcome over records (position, uid, stratum)."""
    if not scored.selection.question:
        return all_pass(records)
    rewards = scored.slots.filter(pl.col("turn") == QUESTION_TURN).select("uid", "reward")
    answers = Answers(rewards=rewards, faults=scored.faults)
    return select(records, answers, keep=scored.selection.question_keep, seed=scored.seed)


def answer_outcome(records: pl.DataFrame, scored: Scored) -> StageOutcome:
    """Returns the answer stage's outcome over the survivors (position, uid, stratum, num_answers)."""
    if not scored.selection.answer:
        return all_pass(records)
    whole = records.select("uid", "num_answers").unique("uid")
    rewards = (
        record_rewards(scored.slots)
        .join(whole, on="uid")
        .filter(pl.col("num_slots") == pl.col("num_answers"))
        .select("uid", "reward")
    )
    answers = Answers(rewards=rewards, faults=scored.faults)
    return select(records, answers, keep=scored.selection.answer_keep, seed=scored.seed)
