"""The cascade: from rewards to what becomes of every record. Pure; knows no files, no services.

Question stage first, over all usable records; the answer stage over its survivors only. A record
without a reward is never selected: it is quarantined, or the caller is told that it is missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import polars as pl

from align2llava.pipeline.config.schema import Keeps
from align2llava.pipeline.curation.layout import Decision, Reason, Stage
from align2llava.pipeline.curation.selection.quota import place, smallest_gaps
from align2llava.pipeline.curation.uids import in_parts

_OF_STAGE = ("reward", "rank", "cut", "passes")
_FAULTS = {"position": pl.Int64, "code": pl.String, "message": pl.String}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a service said of records: `rewards` (uid, reward) and `faults` (uid, code, message).

    Uids are UInt128, as everywhere here.
    """

    rewards: pl.DataFrame
    faults: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What becomes of every record.

    `table`: the columns of DECISIONS but uid and id, few bytes a record, by position; names are
    categories. `messages`: position and message of the quarantined.
    """

    table: pl.DataFrame
    messages: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage found.

    `table`: position, reward, rank, cut, passes; a stage that is off lets all pass and leaves the
    rest null. `faults`: position, code and message of those without a reward that have one. `gaps`:
    smallest reward gap at the cut, per stratum. `num_missing`: records with neither.
    """

    table: pl.DataFrame
    faults: pl.DataFrame
    gaps: Mapping[str, float]
    num_missing: int

    def survivors(self) -> pl.Series:
        """Returns the positions of the records that pass, ascending."""
        return self.table.filter("passes")["position"].sort()


def all_pass(records: pl.DataFrame) -> StageOutcome:
    """Returns the outcome of a stage that is off."""
    table = records.select(
        "position",
        pl.lit(None, pl.Float32).alias("reward"),
        pl.lit(None, pl.UInt32).alias("rank"),
        pl.lit(None, pl.UInt32).alias("cut"),
        pl.lit(value=True).alias("passes"),
    )
    return StageOutcome(table=table, faults=pl.DataFrame(schema=_FAULTS), gaps={}, num_missing=0)


def select(records: pl.DataFrame, answers: Answers, *, keep: Keeps, seed: int) -> StageOutcome:
    """Returns the outcome of a stage over `records` (position, uid, stratum), of which the scored compete."""
    rewards = _aligned(records["uid"], answers.rewards)
    contenders = records.select("uid", "stratum").with_columns(rewards)
    strata = contenders["stratum"].unique().to_list()
    keeps = dict.fromkeys(strata, keep) if isinstance(keep, Decimal) else keep
    placed = place(contenders, keeps=keeps, seed=seed)
    passes = (pl.col("rank") <= pl.col("cut")).fill_null(value=False).alias("passes")
    unscored = records.select("position", "uid").filter(rewards.is_null())
    faults = unscored.join(answers.faults, on="uid")
    return StageOutcome(
        table=records.select("position").with_columns(rewards, *placed).with_columns(passes),
        faults=faults.select(_FAULTS.keys()),
        gaps=smallest_gaps(contenders.select("stratum", "reward").with_columns(*placed)),
        num_missing=unscored.height - faults["position"].n_unique(),
    )


def _aligned(uids: pl.Series, rewards: pl.DataFrame) -> pl.Series:
    """Returns the reward of each uid or null, in order."""
    found = pl.repeat(None, uids.len(), dtype=pl.Float32, eager=True).alias("reward")
    numbered = uids.to_frame("uid").with_row_index("at")
    for wanted, rewarded in zip(in_parts(numbered), in_parts(rewards), strict=True):
        both = wanted.join(rewarded, on="uid")
        found = found.scatter(both["at"], both["reward"])
    return found


def decisions_of(
    records: pl.DataFrame,
    *,
    question: StageOutcome,
    answer: StageOutcome,
    faults: pl.DataFrame,
    keeps_text_only: bool,
) -> Decisions:
    """Returns what becomes of every record.

    `records`: position (0 to n - 1, in order), type and is_text_only. `faults`: position, code and
    message of those that cannot be used, at stage input. `answer` is of the question stage's
    survivors.
    """
    of_stages = ((Stage.INPUT, faults), *zip(_BELOW, (question.faults, answer.faults), strict=True))
    found = pl.concat(
        one.select(
            "position",
            pl.lit(stage.value, pl.Categorical).alias("stage"),
            pl.col("code").cast(pl.Categorical),
            "message",
        )
        for stage, one in of_stages
    )
    first = found.unique("position", keep="first", maintain_order=True)
    whole = records.with_columns(
        *_spread(question, "question", height=records.height),
        *_spread(answer, "answer", height=records.height),
        *(
            _wide(first["position"], first[name], height=records.height)
            for name in first.columns[1:3]
        ),
    )
    table = whole.select(*_SHOWN, *_verdicts(keeps_text_only=keeps_text_only))
    return Decisions(table=table, messages=first.select("position", "message"))


def _spread(outcome: StageOutcome, stage: str, *, height: int) -> Iterator[pl.Series]:
    for name in _OF_STAGE:
        whole = _wide(outcome.table["position"], outcome.table[name], height=height)
        yield whole.alias(f"{stage}_{name}")


def _wide(positions: pl.Series, values: pl.Series, *, height: int) -> pl.Series:
    """Returns values as a column of all records, null where there is none."""
    empty = pl.repeat(None, height, dtype=values.dtype, eager=True)
    return empty.scatter(positions, values).alias(values.name)


def _verdicts(*, keeps_text_only: bool) -> list[pl.Expr]:
    """Returns stage, decision and reason; the first rule that holds decides."""
    rules = [
        _Rule(pl.col("code").is_not_null(), pl.col("stage"), Decision.QUARANTINED, pl.col("code")),
        _Rule(pl.col("is_text_only"), *_text_only(keeps=keeps_text_only)),
    ]
    for stage, below in _BELOW.items():
        fails = ~pl.col(f"{stage}_passes").fill_null(value=False)
        rules.append(_Rule(fails, _name(stage), Decision.DROPPED, _name(below)))
    rules.append(_Rule(pl.lit(value=True), _name(Stage.DONE), Decision.KEPT, _name(Reason.KEPT)))
    return [
        pl.coalesce(_where(rule, rule.stage) for rule in rules).alias("stage"),
        pl.coalesce(_where(rule, _name(rule.decision)) for rule in rules).alias("decision"),
        pl.coalesce(_where(rule, rule.reason) for rule in rules).alias("reason"),
    ]


class _Rule(NamedTuple):
    holds: pl.Expr
    stage: pl.Expr
    decision: Decision
    reason: pl.Expr


def _text_only(*, keeps: bool) -> tuple[pl.Expr, Decision, pl.Expr]:
    if keeps:
        return _name(Stage.DONE), Decision.KEPT, _name(Reason.KEPT)
    return _name(Stage.INPUT), Decision.DROPPED, _name(Reason.TEXT_ONLY)


def _name(one: Stage | Decision | Reason) -> pl.Expr:
    return pl.lit(one.value, pl.Categorical)


def _where(rule: _Rule, value: pl.Expr) -> pl.Expr:
    return pl.when(rule.holds).then(value)


_BELOW = {Stage.QUESTION: Reason.BELOW_QUESTION_CUT, Stage.ANSWER: Reason.BELOW_ANSWER_CUT}
_SHOWN = (
    "position",
    "type",
    "question_reward",
    "answer_reward",
    "question_rank",
    "question_cut",
    "answer_rank",
    "answer_cut",
)
