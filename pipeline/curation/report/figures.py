"""All figures of a report as one value: what `report.json` holds and the page shows. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.figures.decisions import (
    Correlation,
    KeptByLength,
    StageRewards,
    TypeFigures,
    correlations,
    counts_by_type,
    kept_by_length,
    smallest_margin,
    stage_rewards,
)
from align2llava.pipeline.curation.figures.noise import Fragility, Noise, fragile_decisions
from align2llava.pipeline.curation.figures.rewrites import RewriteFigures
from align2llava.pipeline.curation.figures.sets import SetFigures
from align2llava.pipeline.curation.figures.spend import ScoreTotals, ServicePace, StageTime
from align2llava.pipeline.curation.figures.truth import TruthFigures
from align2llava.pipeline.curation.layout import Decision, InputEntry, QuarantineLine

REPORT_VERSION = 1
ALL_TYPES = "all types"
MAX_MESSAGE_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestMargin:
    """The closest cut of the run: a change of rewards below `margin` cannot flip any record."""

    stage: str
    type: str
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineGroup:
    """The quarantined records of one code, with the first of them as example."""

    code: str
    num_records: int
    position: int | None
    uid: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRule:
    """Whether a stage selected, and the share it keeps: one number, or one for each stratum."""

    is_on: bool
    keep: str | dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the figures come from."""

    run: str
    seed: int
    stratum: str
    rules: dict[str, StageRule]
    inputs: tuple[InputEntry, ...]
    identities: dict[str, dict[str, str]]
    files: dict[str, str]
    config_yaml: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFigures:
    """The report; every share is in [0, 1], every count counts records unless it says turns."""

    version: int
    input: int
    kept: int
    dropped: int
    quarantined: int
    counts: tuple[TypeFigures, ...]
    rewards: tuple[StageRewards, ...]
    smallest_margin: SmallestMargin | None
    noise: tuple[Noise, ...]
    fragile: tuple[Fragility, ...]
    correlations: tuple[Correlation, ...]
    kept_by_length: tuple[KeptByLength, ...]
    sets: tuple[SetFigures, ...]
    truth: TruthFigures | None
    rewrites: RewriteFigures | None
    quarantine: tuple[QuarantineGroup, ...]
    scores: tuple[ScoreTotals, ...]
    device_s_per_kept_record: float | None
    times: tuple[StageTime, ...]
    paces: tuple[ServicePace, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was computed or read apart, and goes into the report as it is."""

    sets: tuple[SetFigures, ...]
    truth: TruthFigures | None
    rewrites: RewriteFigures | None
    quarantine: tuple[QuarantineGroup, ...]
    scores: tuple[ScoreTotals, ...]
    noise: tuple[Noise, ...]
    times: tuple[StageTime, ...]
    paces: tuple[ServicePace, ...]
    provenance: Provenance


def report_figures(table: pl.DataFrame, findings: Findings) -> ReportFigures:
    """Returns the report of a run's decisions joined with the lengths of its texts."""
    decisions = dict(table["decision"].value_counts().rows())
    num_kept = decisions.get(Decision.KEPT, 0)
    by_stratum = _by_stratum(table, findings.provenance.stratum)
    rewards = stage_rewards(by_stratum)
    return ReportFigures(
        version=REPORT_VERSION,
        input=table.height,
        kept=num_kept,
        dropped=decisions.get(Decision.DROPPED, 0),
        quarantined=decisions.get(Decision.QUARANTINED, 0),
        counts=tuple(counts_by_type(table)),
        rewards=tuple(rewards),
        smallest_margin=_smallest(rewards),
        noise=findings.noise,
        fragile=tuple(fragile_decisions(by_stratum, findings.noise)),
        correlations=tuple(correlations(table)),
        kept_by_length=tuple(kept_by_length(table)),
        sets=findings.sets,
        truth=findings.truth,
        rewrites=findings.rewrites,
        quarantine=findings.quarantine,
        scores=findings.scores,
        device_s_per_kept_record=_per_kept(findings.scores, num_kept),
        times=findings.times,
        paces=findings.paces,
        provenance=findings.provenance,
    )


def _by_stratum(table: pl.DataFrame, stratum: str) -> pl.DataFrame:
    # A cut belongs to its stratum: without strata there is one histogram a stage.
    return table if stratum == "type" else table.with_columns(pl.lit(ALL_TYPES).alias("type"))


def _per_kept(scores: tuple[ScoreTotals, ...], num_kept: int) -> float | None:
    return sum(row.device_s for row in scores) / num_kept if scores and num_kept else None


def _smallest(rewards: list[StageRewards]) -> SmallestMargin | None:
    closest = smallest_margin(rewards)
    if closest is None or closest.margin_at_cut is None:
        return None
    return SmallestMargin(stage=closest.stage, type=closest.type, margin=closest.margin_at_cut)


def quarantine_groups(
    decisions: pl.DataFrame, lines: Iterable[QuarantineLine]
) -> list[QuarantineGroup]:
    """Returns one group per code, most records first.

    Counts what the decisions call quarantined: a line of a record that a resume brought through
    counts no more.
    """
    quarantined = decisions.filter(pl.col("decision") == Decision.QUARANTINED)
    codes: Mapping[int, str] = dict(quarantined.select("position", "reason").iter_rows())
    examples: dict[str, QuarantineLine] = {}
    for line in lines:
        if codes.get(line["position"]) == line["code"]:
            examples.setdefault(line["code"], line)
    counts = quarantined["reason"].value_counts(sort=True)
    return [_group(code, number, example=examples.get(code)) for code, number in counts.iter_rows()]


def _group(code: str, num_records: int, *, example: QuarantineLine | None) -> QuarantineGroup:
    return QuarantineGroup(
        code=code,
        num_records=num_records,
        position=example["position"] if example else None,
        uid=example["uid"] if example else None,
        message=example["message"][:MAX_MESSAGE_CHARS] if example else "",
    )


def stage_rules(config: Config) -> dict[str, StageRule]:
    """Returns the selection's settings, in words that JSON has."""
    selection = config.selection
    return {
        "question": StageRule(is_on=selection.question, keep=_keep(selection.question_keep)),
        "answer": StageRule(is_on=selection.answer, keep=_keep(selection.answer_keep)),
    }


def _keep(keep: object) -> str | dict[str, str]:
    if isinstance(keep, dict):
        return {str(name): str(value) for name, value in keep.items()}
    return str(keep)
