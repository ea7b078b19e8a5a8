"""The cascade: from rewards to what becomes of every record. Pure; knows no files, no services.

Question stage first, over all usable records; the answer stage over its survivors only. A record
without a reward is never selected: it is quarantined, or the caller is told that it is missing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import polars as pl

from pipeline.config import Keeps, SelectionConfig
from pipeline.curation.layout import Decision, Reason, Stage
from pipeline.curation.selection import place, smallest_gaps
from pipeline.errors import ConfigError

ONE_STRATUM = "all"  # the name of the only stratum where `selection.stratum` is none
_OF_STAGE = ("reward", "rank", "cut", "passes", "code", "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a service said of records: `rewards` (uid, reward) and `faults` (uid, code, message)."""

    rewards: pl.DataFrame
    faults: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage found.

    `table`: position, reward, rank, cut, passes, code, message; a stage that is off lets all pass
    and leaves the rest null. `gaps`: smallest reward gap at the cut, per stratum. `num_missing`:
    records with neither a reward nor a fault.
    """

    table: pl.DataFrame
    gaps: Mapping[str, float]
    num_missing: int


def with_stratum(records: pl.LazyFrame, selection: SelectionConfig) -> pl.LazyFrame:
    """Returns records with the `stratum` each competes in."""
    stratum = pl.col("type") if selection.stratum == "type" else pl.lit(ONE_STRATUM)
    return records.with_columns(stratum.alias("stratum"))


def check_keeps(strata: Iterable[str], selection: SelectionConfig) -> None:
    """Checks, before anything is spent, that every stratum has a keep at every stage that is on.

    Raises:
        ConfigError: a stratum is missing from a map.
    """
    present = set(strata)
    stages = {
        "question_keep": selection.question_keep if selection.question else None,
        "answer_keep": selection.answer_keep if selection.answer else None,
    }
    for name, keep in stages.items():
        missing = sorted(present - keep.keys()) if isinstance(keep, dict) else []
        if missing:
            raise ConfigError(f"selection.{name}: no keep for stratum {missing[0]!r}")


def all_pass(records: pl.DataFrame) -> StageOutcome:
    """Returns the outcome of a stage that is off."""
    table = records.select(
        "position",
        pl.lit(None, pl.Float32).alias("reward"),
        pl.lit(None, pl.Int64).alias("rank"),
        pl.lit(None, pl.Int64).alias("cut"),
        pl.lit(value=True).alias("passes"),
        pl.lit(None, pl.String).alias("code"),
        pl.lit(None, pl.String).alias("message"),
    )
    return StageOutcome(table=table, gaps={}, num_missing=0)


def select(records: pl.DataFrame, answers: Answers, *, keep: Keeps, seed: int) -> StageOutcome:
    """Returns the outcome of a stage over `records` (position, uid, stratum), of which the scored compete."""
    known = (
        records.select("position", "uid", "stratum")
        .join(answers.rewards, on="uid", how="left")
        .join(answers.faults, on="uid", how="left")
    )
    scored = known.filter(pl.col("reward").is_not_null())
    strata = scored["stratum"].unique().to_list()
    keeps = dict.fromkeys(strata, keep) if isinstance(keep, Decimal) else keep
    placed = place(scored, keeps=keeps, seed=seed)
    del scored  # memory: a copy of what there is of every record
    whole = known.drop("uid").join(placed, on="position", how="left")
    unscored = pl.col("reward").is_null()
    table = whole.select(
        "position",
        "reward",
        "rank",
        "cut",
        (pl.col("rank") <= pl.col("cut")).fill_null(value=False).alias("passes"),
        *(pl.when(unscored).then(pl.col(name)).alias(name) for name in ("code", "message")),
    )
    num_missing = table.filter(unscored & pl.col("code").is_null()).height
    gaps = smallest_gaps(whole.drop_nulls("rank"))
    return StageOutcome(table=table, gaps=gaps, num_missing=num_missing)


def decisions_of(
    records: pl.DataFrame, *, question: StageOutcome, answer: StageOutcome, keeps_text_only: bool
) -> pl.DataFrame:
    """Returns what becomes of every record: the columns of DECISIONS, and `message` of its fault.

    `records`: position, uid, id, type, is_text_only, and code and message of a fault at stage
    input; `answer` is of the question stage's survivors.
    """
    joined = (
        records.rename({"code": "input_code", "message": "input_message"})
        .join(_named(question, "question"), on="position", how="left")
        .join(_named(answer, "answer"), on="position", how="left")
        .sort("position")
    )
    return joined.with_columns(_verdicts(keeps_text_only=keeps_text_only)).select(
        "position",
        "uid",
        "id",
        "type",
        "question_reward",
        "answer_reward",
        "question_rank",
        "question_cut",
        "answer_rank",
        "answer_cut",
        "stage",
        "decision",
        "reason",
        "message",
    )


def _named(outcome: StageOutcome, stage: str) -> pl.DataFrame:
    return outcome.table.rename({name: f"{stage}_{name}" for name in _OF_STAGE})


def _verdicts(*, keeps_text_only: bool) -> list[pl.Expr]:
    """Returns stage, decision, reason and message; the first rule that holds decides."""
    fault = pl.col("input_code")
    rules = [
        _Rule(fault.is_not_null(), Stage.INPUT, Decision.QUARANTINED, fault),
        _Rule(pl.col("is_text_only"), *_text_only(keeps=keeps_text_only)),
    ]
    for stage, below in _BELOW.items():
        fault = pl.col(f"{stage}_code")
        passes = pl.col(f"{stage}_passes").fill_null(value=False)
        rules.append(_Rule(fault.is_not_null(), stage, Decision.QUARANTINED, fault))
        rules.append(_Rule(~passes, stage, Decision.DROPPED, pl.lit(below.value)))
    rules.append(_Rule(pl.lit(value=True), Stage.DONE, Decision.KEPT, pl.lit(Reason.KEPT.value)))
    return [
        pl.coalesce(_where(rule, pl.lit(rule.stage.value)) for rule in rules).alias("stage"),
        pl.coalesce(_where(rule, pl.lit(rule.decision.value)) for rule in rules).alias("decision"),
        pl.coalesce(_where(rule, rule.reason) for rule in rules).alias("reason"),
        pl.coalesce("input_message", "question_message", "answer_message").alias("message"),
    ]


class _Rule(NamedTuple):
    holds: pl.Expr
    stage: Stage
    decision: Decision
    reason: pl.Expr


def _text_only(*, keeps: bool) -> tuple[Stage, Decision, pl.Expr]:
    if keeps:
        return Stage.DONE, Decision.KEPT, pl.lit(Reason.KEPT.value)
    return Stage.INPUT, Decision.DROPPED, pl.lit(Reason.TEXT_ONLY.value)


def _where(rule: _Rule, value: pl.Expr) -> pl.Expr:
    return pl.when(rule.holds).then(value)


_BELOW = {Stage.QUESTION: Reason.BELOW_QUESTION_CUT, Stage.ANSWER: Reason.BELOW_ANSWER_CUT}
