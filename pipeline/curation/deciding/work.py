"""A run in work: its rows, its stores, and what follows from them. Asks no service, publishes nothing."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

import polars as pl

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.disk.scratch import scratch_folder
from align2llava.pipeline.curation.input.scan import Scan
from align2llava.pipeline.curation.layout import Decision, RewardStage, RunPaths
from align2llava.pipeline.curation.run.outgoing import first_candidates
from align2llava.pipeline.curation.selection.answer_rewards import best_candidates
from align2llava.pipeline.curation.selection.contenders import contenders
from align2llava.pipeline.curation.selection.decisions import Decisions, StageOutcome, decisions_of
from align2llava.pipeline.curation.selection.outcomes import (
    Scored,
    answer_outcome,
    question_outcome,
)
from align2llava.pipeline.curation.stages.rewarding import StageCounts
from align2llava.pipeline.curation.store.events import EventLog
from align2llava.pipeline.curation.store.ledger import Ledger
from align2llava.pipeline.curation.store.quarantine import QuarantineStore
from align2llava.pipeline.curation.store.rewards import RewardStore
from align2llava.pipeline.curation.uids import as_number
from align2llava.pipeline.process.progress import ProgressView


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What follows from the stored rewards.

    `chosen`: the candidate of each turn of the kept records, by position. `num_missing`: records
    without reward or fault.
    """

    decisions: Decisions
    chosen: Mapping[int, Sequence[int]]
    gaps: Mapping[str, Mapping[str, float]]
    num_missing: Mapping[RewardStage, int]

    def kept_positions(self) -> pl.Series:
        """Returns the positions of the kept records, ascending."""
        return self.decisions.table.filter(pl.col("decision") == Decision.KEPT)["position"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Everything a run needs while its lease is held."""

    paths: RunPaths
    config: Config
    scan: Scan
    rewards: Mapping[RewardStage, RewardStore]
    quarantine: QuarantineStore
    ledger: Ledger
    events: EventLog
    progress: ProgressView
    asked: dict[RewardStage, StageCounts] = field(default_factory=dict[RewardStage, StageCounts])

    @classmethod
    @contextmanager
    def open(
        cls, paths: RunPaths, *, config: Config, scan: Scan, progress: ProgressView
    ) -> Generator["Work"]:
        """Opens the stores of a run directory, and closes them at the end; needs its lease.

        Raises:
            RunError: a store is of another version.
            StoreError: the scratch folder cannot be written.
        """
        scratch = scratch_folder(config.run.scratch)
        with ExitStack() as stack:
            rewards = {
                stage: stack.enter_context(
                    closing(RewardStore(paths.scores(stage), scratch=scratch))
                )
                for stage in RewardStage
            }
            yield cls(
                paths=paths,
                config=config,
                scan=scan,
                rewards=rewards,
                quarantine=QuarantineStore(paths.quarantine),
                ledger=Ledger(paths.rewrites),
                events=EventLog(paths.events),
                progress=progress,
            )

    def survivors(self) -> pl.Series:
        """Returns the positions of the records that pass the question stage, ascending."""
        self.progress.start("select", total=None)
        found = self._question()
        self.progress.advance(found.table.height)
        self.progress.finish()
        return found.survivors()

    def _question(self) -> StageOutcome:
        slots = self.rewards[RewardStage.QUESTION].rewards()
        records = contenders(self.scan.table, self.config.selection)
        return question_outcome(records, self._scored(RewardStage.QUESTION, slots))

    def decide(self) -> Decided:
        """Returns what becomes of every record, from stored rewards alone."""
        self.progress.start("select", total=None)
        decided = self._decided()
        self.progress.advance(decided.decisions.table.height)
        self.progress.finish()
        return decided

    def _decided(self) -> Decided:
        question = self._question()
        slots = self.rewards[RewardStage.ANSWER].rewards()
        survivors = contenders(self.scan.table, self.config.selection).join(
            question.survivors().to_frame(), on="position", how="semi"
        )
        answer = answer_outcome(survivors, self._scored(RewardStage.ANSWER, slots))
        decisions = decisions_of(
            self.scan.decidable(),
            question=question,
            answer=answer,
            faults=self.scan.faults(),
            keeps_text_only=self.config.input.text_only == "keep",
        )
        return Decided(
            decisions=decisions,
            chosen=self._chosen(decisions.table, slots),
            gaps=_gaps(question, answer),
            num_missing={
                RewardStage.QUESTION: question.num_missing,
                RewardStage.ANSWER: answer.num_missing,
            },
        )

    def _scored(self, stage: RewardStage, slots: pl.DataFrame) -> Scored:
        return Scored(
            slots=slots,
            faults=self.quarantine.faults(stage),
            selection=self.config.selection,
            seed=self.config.run.seed,
        )

    def _chosen(self, decisions: pl.DataFrame, slots: pl.DataFrame) -> dict[int, Sequence[int]]:
        """Returns the best candidates of the kept records, candidate 0 where none was scored."""
        is_kept = decisions.lazy().filter(pl.col("decision") == Decision.KEPT)
        turns = self.scan.table.lazy().select("position", as_number(), "num_turns")
        kept = turns.join(is_kept, on="position", how="semi").collect(engine="streaming")
        kept = kept.sort("position")
        of_kept = slots.join(kept.select("uid"), on="uid", how="semi")
        best = best_candidates(of_kept) if self.config.selection.answer else {}
        columns = kept.select("position", "uid", "num_turns").iter_rows()
        return {
            position: best.get(uid) or first_candidates(turns) for position, uid, turns in columns
        }


def _gaps(question: StageOutcome, answer: StageOutcome) -> dict[str, Mapping[str, float]]:
    gaps = {RewardStage.QUESTION.value: question.gaps, RewardStage.ANSWER.value: answer.gaps}
    return {stage: of_stage for stage, of_stage in gaps.items() if of_stage}
