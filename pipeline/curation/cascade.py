"""The cascade: from rewards to what becomes of every record. Pure; knows no files, no services.

Question stage first, over all usable records; the answer stage over its survivors only. A record
without a reward is never selected: it is quarantined, or the caller is told that it is missing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from pipeline.config import Keeps, SelectionConfig
from pipeline.curation.layout import Decision, Reason, Stage
from pipeline.curation.records import Fault
from pipeline.curation.rows import Row
from pipeline.curation.selection import Contender, Placing, place, smallest_gap
from pipeline.errors import ConfigError

ONE_STRATUM = "all"  # the name of the only stratum where `selection.stratum` is none


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage found, by position.

    A stage that is off has no rewards and lets all pass. `gaps` = smallest reward gap at the cut
    per stratum.
    """

    rewards: Mapping[int, float]
    faults: Mapping[int, Fault]
    placings: Mapping[int, Placing]
    passed: frozenset[int]
    gaps: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one record: a row of `decisions.parquet`, with its fault where quarantined."""

    row: Row
    question_reward: float | None
    answer_reward: float | None
    question: Placing | None
    answer: Placing | None
    stage: Stage
    decision: Decision
    reason: str
    fault: Fault | None


def stratum_of(row: Row, selection: SelectionConfig) -> str:
    """Returns the stratum a record competes in."""
    return row.type if selection.stratum == "type" else ONE_STRATUM


def check_keeps(rows: Iterable[Row], selection: SelectionConfig) -> None:
    """Checks, before anything is spent, that every stratum has a keep at every stage that is on.

    Raises:
        ConfigError: a stratum is missing from a map.
    """
    strata = {stratum_of(row, selection) for row in rows}
    stages = {
        "question_keep": selection.question_keep if selection.question else None,
        "answer_keep": selection.answer_keep if selection.answer else None,
    }
    for name, keep in stages.items():
        missing = sorted(strata - keep.keys()) if isinstance(keep, dict) else []
        if missing:
            raise ConfigError(f"selection.{name}: no keep for stratum {missing[0]!r}")


def all_pass(rows: Iterable[Row]) -> StageOutcome:
    """Returns the outcome of a stage that is off."""
    passed = frozenset(row.position for row in rows)
    return StageOutcome(rewards={}, faults={}, placings={}, passed=passed, gaps={})


def select(
    rows: Mapping[int, Row],
    *,
    rewards: Mapping[int, float],
    faults: Mapping[int, Fault],
    keep: Keeps,
    selection: SelectionConfig,
    seed: int,
) -> StageOutcome:
    """Returns the outcome of a stage over `rows`, of which those in `rewards` compete."""
    contenders = [
        Contender(
            position=position,
            uid=row.uid,
            stratum=stratum_of(row, selection),
            reward=rewards[position],
        )
        for position, row in rows.items()
        if position in rewards and row.uid is not None
    ]
    strata = {one.stratum for one in contenders}
    keeps: Mapping[str, Decimal] = (
        dict.fromkeys(strata, keep) if isinstance(keep, Decimal) else keep
    )
    placings = place(contenders, keeps=keeps, seed=seed)
    return StageOutcome(
        rewards=rewards,
        faults=faults,
        placings=placings,
        passed=frozenset(position for position, one in placings.items() if one.passes),
        gaps=smallest_gap(contenders, placings),
    )


def fate_of(
    row: Row, *, question: StageOutcome, answer: StageOutcome, keeps_text_only: bool
) -> Fate:
    """Returns what became of a record."""
    if row.fault is not None:
        return _fate(row, stage=Stage.INPUT, fault=row.fault)
    if not row.is_text_only:
        return _scored_fate(row, question, answer)
    if keeps_text_only:
        return _fate(row, stage=Stage.DONE, decision=Decision.KEPT, reason=Reason.KEPT)
    return _fate(row, stage=Stage.INPUT, reason=Reason.TEXT_ONLY)


def _scored_fate(row: Row, question: StageOutcome, answer: StageOutcome) -> Fate:
    position = row.position
    if position in question.faults:
        return _fate(row, stage=Stage.QUESTION, fault=question.faults[position])
    if position not in question.passed:
        reason = Reason.BELOW_QUESTION_CUT
        return _fate(row, stage=Stage.QUESTION, reason=reason, outcomes=(question, None))
    outcomes = (question, answer)
    if position in answer.faults:
        fault = answer.faults[position]
        return _fate(row, stage=Stage.ANSWER, fault=fault, outcomes=outcomes)
    if position not in answer.passed:
        reason = Reason.BELOW_ANSWER_CUT
        return _fate(row, stage=Stage.ANSWER, reason=reason, outcomes=outcomes)
    kept = Decision.KEPT
    return _fate(row, stage=Stage.DONE, decision=kept, reason=Reason.KEPT, outcomes=outcomes)


def _fate(
    row: Row,
    *,
    stage: Stage,
    decision: Decision = Decision.DROPPED,
    reason: str = "",
    fault: Fault | None = None,
    outcomes: tuple[StageOutcome | None, StageOutcome | None] = (None, None),
) -> Fate:
    question, answer = outcomes
    return Fate(
        row=row,
        question_reward=None if question is None else question.rewards.get(row.position),
        answer_reward=None if answer is None else answer.rewards.get(row.position),
        question=None if question is None else question.placings.get(row.position),
        answer=None if answer is None else answer.placings.get(row.position),
        stage=stage,
        decision=decision if fault is None else Decision.QUARANTINED,
        reason=reason if fault is None else str(fault.code),
        fault=fault,
    )


def decision_row(fate: Fate) -> dict[str, object]:
    """Returns a fate as a row of `decisions.parquet`."""
    question, answer = fate.question, fate.answer
    return {
        "position": fate.row.position,
        "uid": fate.row.uid,
        "id": fate.row.id_json,
        "type": fate.row.type,
        "question_reward": fate.question_reward,
        "answer_reward": fate.answer_reward,
        "question_rank": None if question is None else question.rank,
        "question_cut": None if question is None else question.cut,
        "answer_rank": None if answer is None else answer.rank,
        "answer_cut": None if answer is None else answer.cut,
        "stage": str(fate.stage),
        "decision": str(fate.decision),
        "reason": fate.reason,
    }
