"""From stored rewards to the outcome of each stage. Asks no service.

A record is scored only where every one of its rewards is stored; one that lacks a reward has a
fault from its service, or is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import SelectionConfig
from pipeline.curation.cascade import StageOutcome, all_pass, select
from pipeline.curation.corpus import Corpus
from pipeline.curation.layout import QUESTION_TURN, RewardStage
from pipeline.curation.quarantine import QuarantineStore
from pipeline.curation.records import Fault
from pipeline.curation.rows import Loaded, Row
from pipeline.curation.selection import best_candidate, record_reward
from pipeline.curation.store import RewardStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An outcome, and what it lacks: how many records have neither a reward nor a fault."""

    outcome: StageOutcome
    num_missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAnswers:
    """As `Found`, and the chosen candidate of each turn, by position."""

    outcome: StageOutcome
    num_missing: int
    chosen: Mapping[int, Sequence[int]]


def question_outcome(
    rows: Mapping[int, Row],
    *,
    store: RewardStore,
    quarantine: QuarantineStore,
    selection: SelectionConfig,
    seed: int,
) -> Found:
    """Returns the question stage's outcome over all usable records with an image."""
    if not selection.question:
        return Found(outcome=all_pass(rows.values()), num_missing=0)
    rewards: dict[int, float] = {}
    unscored: list[Row] = []
    for position, row in rows.items():
        reward = store.find((row.uid or "", QUESTION_TURN, 0))
        if reward is None:
            unscored.append(row)
        else:
            rewards[position] = reward
    faults = _faults(unscored, quarantine, RewardStage.QUESTION)
    outcome = select(
        rows,
        rewards=rewards,
        faults=faults,
        keep=selection.question_keep,
        selection=selection,
        seed=seed,
    )
    return Found(outcome=outcome, num_missing=len(unscored) - len(faults))


def answer_outcome(
    corpus: Corpus,
    rows: Mapping[int, Row],
    *,
    store: RewardStore,
    quarantine: QuarantineStore,
    selection: SelectionConfig,
    seed: int,
) -> FoundAnswers:
    """Returns the answer stage's outcome over the survivors of the question stage."""
    rewards: dict[int, float] = {}
    chosen: dict[int, Sequence[int]] = {}
    unscored: list[Row] = []
    for loaded in corpus.load(rows):
        position = loaded.row.position
        if not selection.answer:
            chosen[position] = first_candidates(loaded)
            continue
        by_turn = _stored_answers(loaded, store)
        if by_turn is None:
            unscored.append(loaded.row)
        else:
            rewards[position] = record_reward(by_turn)
            chosen[position] = [best_candidate(candidates) for candidates in by_turn]
    if not selection.answer:
        return FoundAnswers(outcome=all_pass(rows.values()), num_missing=0, chosen=chosen)
    faults = _faults(unscored, quarantine, RewardStage.ANSWER)
    outcome = select(
        rows,
        rewards=rewards,
        faults=faults,
        keep=selection.answer_keep,
        selection=selection,
        seed=seed,
    )
    num_missing = len(unscored) - len(faults)
    return FoundAnswers(outcome=outcome, num_missing=num_missing, chosen=chosen)


def first_candidates(loaded: Loaded) -> tuple[int, ...]:
    """Returns candidate 0 of each turn: what goes out where answers are not scored."""
    return (0,) * len(loaded.record.turns)


def _stored_answers(loaded: Loaded, store: RewardStore) -> list[list[float]] | None:
    by_turn: list[list[float]] = []
    for turn, one in enumerate(loaded.record.turns):
        found = [store.find((loaded.uid, turn, at)) for at in range(len(one.answers))]
        known = [reward for reward in found if reward is not None]
        if len(known) < len(found):
            return None
        by_turn.append(known)
    return by_turn


def _faults(
    unscored: Sequence[Row], quarantine: QuarantineStore, stage: RewardStage
) -> dict[int, Fault]:
    known = ((row.position, quarantine.find(row.uid or "", stage)) for row in unscored)
    return {position: one.fault for position, one in known if one is not None}
