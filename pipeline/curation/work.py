"""A run in work: its rows, its stores, and what follows from them. Asks no service, publishes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import Config
from pipeline.curation.cascade import Fate, StageOutcome, check_keeps, fate_of
from pipeline.curation.corpus import Corpus
from pipeline.curation.events import EventLog
from pipeline.curation.layout import Decision, InputEntry, RewardStage, RunPaths
from pipeline.curation.ledger import Ledger
from pipeline.curation.outcomes import (
    Found,
    FoundAnswers,
    answer_outcome,
    first_candidates,
    question_outcome,
)
from pipeline.curation.progress import ProgressView
from pipeline.curation.quarantine import QuarantineStore
from pipeline.curation.rows import Row
from pipeline.curation.store import RewardStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The input, read once: every row by position."""

    corpus: Corpus
    rows: Mapping[int, Row]
    inputs: Sequence[InputEntry]

    def usable(self) -> dict[int, Row]:
        """Returns the rows that are scored: those with an image and without a fault."""
        return {
            position: row
            for position, row in self.rows.items()
            if row.fault is None and row.image is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What follows from the stored rewards. `num_missing`: records without reward or fault, by stage."""

    fates: Sequence[Fate]
    chosen: Mapping[int, Sequence[int]]
    gaps: Mapping[str, Mapping[str, float]]
    num_missing: Mapping[RewardStage, int]

    def kept(self) -> dict[int, Row]:
        """Returns the kept rows by position."""
        return {
            fate.row.position: fate.row for fate in self.fates if fate.decision is Decision.KEPT
        }


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

    @classmethod
    def open(cls, paths: RunPaths, *, config: Config, scan: Scan, progress: ProgressView) -> "Work":
        """Opens the stores of a run directory; needs its lease.

        Raises:
            RunError: a store is of another version.
        """
        return cls(
            paths=paths,
            config=config,
            scan=scan,
            rewards={stage: RewardStore(paths.scores(stage)) for stage in RewardStage},
            quarantine=QuarantineStore(paths.quarantine),
            ledger=Ledger(paths.rewrites),
            events=EventLog(paths.events),
            progress=progress,
        )

    def survivors(self) -> tuple[Found, dict[int, Row]]:
        """Returns the question stage's outcome and the rows that passed it."""
        usable = self.scan.usable()
        found = question_outcome(
            usable,
            store=self.rewards[RewardStage.QUESTION],
            quarantine=self.quarantine,
            selection=self.config.selection,
            seed=self.config.run.seed,
        )
        passed = found.outcome.passed
        return found, {position: row for position, row in usable.items() if position in passed}

    def decide(self) -> Decided:
        """Returns what becomes of every record, from stored rewards alone."""
        question, survivors = self.survivors()
        answers = answer_outcome(
            self.scan.corpus,
            survivors,
            store=self.rewards[RewardStage.ANSWER],
            quarantine=self.quarantine,
            selection=self.config.selection,
            seed=self.config.run.seed,
        )
        fates = [
            fate_of(
                row,
                question=question.outcome,
                answer=answers.outcome,
                keeps_text_only=self.config.input.text_only == "keep",
            )
            for _, row in sorted(self.scan.rows.items())
        ]
        return Decided(
            fates=fates,
            chosen=self._chosen(fates, answers),
            gaps=_gaps(question.outcome, answers.outcome),
            num_missing={
                RewardStage.QUESTION: question.num_missing,
                RewardStage.ANSWER: answers.num_missing,
            },
        )

    def _chosen(self, fates: Sequence[Fate], answers: FoundAnswers) -> Mapping[int, Sequence[int]]:
        text_only = {
            fate.row.position: fate.row
            for fate in fates
            if fate.decision is Decision.KEPT and fate.row.is_text_only
        }
        if not text_only:
            return answers.chosen
        loaded = self.scan.corpus.load(text_only)
        first = {one.row.position: first_candidates(one) for one in loaded}
        return {**answers.chosen, **first}


def scan_input(config: Config, progress: ProgressView) -> Scan:
    """Reads the whole input once, before anything is spent.

    Raises:
        InputError: a file is missing or no JSON array; it says the byte.
        ConfigError: several dialects, or a stratum without a keep.
    """
    corpus = Corpus(config.input, limit=config.run.limit)
    rows: dict[int, Row] = {}

    def take(row: Row) -> None:
        rows[row.position] = row
        progress.advance(1)

    progress.start("input", total=None)
    inputs = corpus.scan(take)
    progress.finish()
    scan = Scan(corpus=corpus, rows=rows, inputs=inputs)
    check_keeps(scan.usable().values(), config.selection)
    return scan


def _gaps(question: StageOutcome, answer: StageOutcome) -> dict[str, Mapping[str, float]]:
    gaps = {RewardStage.QUESTION.value: question.gaps, RewardStage.ANSWER.value: answer.gaps}
    return {stage: of_stage for stage, of_stage in gaps.items() if of_stage}
