"""From what a sample cost to what the whole input would: estimates with intervals. Pure.

A sampled record is a row with flags (how far it came) and costs (what it was asked for at each stage).
How many records of a stratum reach a stage follows from the keeps, which are exact on the whole input
but rounded on a sample; what one of them costs there is the sample's mean. Intervals are the central 95 %
of a bootstrap over sampled records, each stratum by itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from align2llava.pipeline.curation.layout import RewardStage

NUM_DRAWS = 500
MAX_ROWS = 1_000_000  # of one batch of draws
_LOW, _HIGH = 0.025, 0.975


class PlanStage(StrEnum):
    """What services are asked, in the order of a run."""

    QUESTION = "question"
    ANSWER = "answer"
    REWRITE = "rewrite"
    REVIEW = "review"


MEASURES = ("items", "image_bytes", "tokens", "device_s", "wall_s")
FLAGS = ("usable", "question_scored", "question_passed", "answer_scored", "kept")
COSTS = tuple(f"{stage}_{measure}" for stage in PlanStage for measure in MEASURES)
_REACHES = {  # who is asked at a stage, as the sample has it
    PlanStage.QUESTION: "usable",
    PlanStage.ANSWER: "question_passed",
    PlanStage.REWRITE: "kept",
    PlanStage.REVIEW: "kept",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumPlan:
    """A stratum of the whole input, and what the config keeps of it; None = the stage is off.

    `is_alone` False = it competes with others for one quota, so that what it keeps is estimated.
    """

    num_records: int
    question_keep: float | None
    answer_keep: float | None
    is_alone: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure of the sample, the same of the whole input, and its 95 % interval."""

    sample: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEstimate:
    """What one stage takes; `records` come to it, the rest is asked of its service."""

    stage: PlanStage
    records: Estimate
    calls: Estimate
    items: Estimate
    image_bytes: Estimate
    tokens: Estimate
    device_s: Estimate
    wall_s: Estimate


def estimates(
    sampled: Sequence[pl.DataFrame],
    strata: Sequence[StratumPlan],
    *,
    batch_items: Mapping[PlanStage, int],
    seed: int,
) -> list[StageEstimate]:
    """Returns an estimate for each stage of `batch_items`.

    `sampled[i]` has a row per sampled record of `strata[i]`, with the columns FLAGS and COSTS.
    """
    sums = [_sums(rows) for rows in sampled]
    pooled = {name: sum(of_one[name] for of_one in sums) for name in ("n", *FLAGS, *COSTS)}
    fallback = _Means(pooled, fallback=None)
    of_strata = [_Means(of_one, fallback=fallback) for of_one in sums]
    point = _total(of_strata, strata)
    num_records = sum(plan.num_records for plan in strata)
    found = _Figures(
        sample=pooled,
        point=point,
        draws=_draws(sampled, of_strata, strata=strata, seed=seed % 2**32) or [point],
        finite_population_factor=math.sqrt(1 - min(1.0, pooled["n"] / max(1, num_records))),
    )
    return [
        StageEstimate(
            stage=stage,
            records=found.of(stage, "records"),
            calls=found.of(stage, "items", per_call=per_call),
            items=found.of(stage, "items"),
            image_bytes=found.of(stage, "image_bytes"),
            tokens=found.of(stage, "tokens"),
            device_s=found.of(stage, "device_s"),
            wall_s=found.of(stage, "wall_s"),
        )
        for stage, per_call in batch_items.items()
    ]


def share_of_image(num_of_image: int, keep: float) -> float:
    """Returns the share of an image's bytes that one record of it stands for, at a stage.

    Of `num_of_image` records of the image each comes to the stage with probability `keep`; the image
    is sent once if any does. Shares of all that come add up to that, on average.
    """
    if keep <= 0:
        return 0.0
    return (1 - (1 - keep) ** num_of_image) / (num_of_image * keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """Totals of the sample, of the whole input, and of each bootstrap draw.

    `finite_population_factor` narrows the intervals: sqrt(1 - n/N), 0 where everything was sampled.
    """

    sample: Mapping[str, float]
    point: Mapping[str, float]
    draws: Sequence[Mapping[str, float]]
    finite_population_factor: float

    def of(self, stage: PlanStage, name: str, *, per_call: int | None = None) -> Estimate:
        """Returns one figure; with `per_call`, how many calls so many items make."""

        def shown(value: float) -> float:
            return value if per_call is None else float(math.ceil(value / per_call - 1e-9))

        key = f"{stage}_{name}"
        value = self.point[key]
        drawn = sorted(draw[key] for draw in self.draws)
        return Estimate(
            sample=shown(self.sample[_REACHES[stage] if name == "records" else key]),
            value=shown(value),
            low=shown(value + self.finite_population_factor * (_quantile(drawn, _LOW) - value)),
            high=shown(value + self.finite_population_factor * (_quantile(drawn, _HIGH) - value)),
        )


class _Means:
    """Means of one stratum's sample over those that came to a stage, else those of a fallback."""

    def __init__(self, sums: Mapping[str, float], *, fallback: "_Means | None") -> None:
        self._sums = sums
        self._fallback = fallback

    def share(self, name: str, *, of: str) -> float:
        """Returns the sum of a flag or a cost over the number of records with flag `of`."""
        if self._sums[of]:
            return self._sums[name] / self._sums[of]
        return 0.0 if self._fallback is None else self._fallback.share(name, of=of)

    def with_sums(self, sums: Mapping[str, float]) -> "_Means":
        """Returns the means of another draw, which fall back on these."""
        return _Means(sums, fallback=self)


def _sums(rows: pl.DataFrame) -> dict[str, float]:
    found = rows.select(pl.col(FLAGS).sum().cast(pl.Float64), pl.col(COSTS).sum())
    return {"n": float(rows.height), **found.row(0, named=True)}


def _total(strata: Sequence[_Means], plans: Sequence[StratumPlan]) -> dict[str, float]:
    names = ("records", *MEASURES)
    total = {f"{stage}_{name}": 0.0 for stage in PlanStage for name in names}
    for means, plan in zip(strata, plans, strict=True):
        for stage, num in _reaching(means, plan).items():
            total[f"{stage}_records"] += num
            for measure in MEASURES:
                name = f"{stage}_{measure}"
                cost = means.share(name, of=_REACHES[stage])
                total[name] += num * cost
    return total


def _reaching(means: _Means, plan: StratumPlan) -> dict[PlanStage, float]:
    """Returns how many records of a stratum come to each stage."""
    usable = plan.num_records * means.share("usable", of="n")
    passed = usable
    if plan.question_keep is not None:
        scored = plan.num_records * means.share("question_scored", of="n")
        passed = scored * _kept_share(means, plan, RewardStage.QUESTION)
    kept = passed
    if plan.answer_keep is not None:
        scored = passed * means.share("answer_scored", of="question_passed")
        kept = scored * _kept_share(means, plan, RewardStage.ANSWER)
    if not usable:  # text-only records are kept without a reward, or not at all
        kept = plan.num_records * means.share("kept", of="n")
    return {
        PlanStage.QUESTION: usable,
        PlanStage.ANSWER: passed,
        PlanStage.REWRITE: kept,
        PlanStage.REVIEW: kept,
    }


def _kept_share(means: _Means, plan: StratumPlan, stage: RewardStage) -> float:
    is_question = stage is RewardStage.QUESTION
    if not plan.is_alone:
        passed = "question_passed" if is_question else "kept"
        return means.share(passed, of=f"{stage}_scored")
    return (plan.question_keep if is_question else plan.answer_keep) or 0.0


def _draws(
    sampled: Sequence[pl.DataFrame],
    means: Sequence[_Means],
    *,
    strata: Sequence[StratumPlan],
    seed: int,
) -> list[dict[str, float]]:
    drawn = [_resampled(rows, seed=seed + 1 + at) for at, rows in enumerate(sampled)]
    return [
        _total(
            [own.with_sums(sums) for own, sums in zip(means, of_draw, strict=True)],
            strata,
        )
        for of_draw in zip(*drawn, strict=True)
    ]


def _resampled(rows: pl.DataFrame, *, seed: int) -> list[dict[str, float]]:
    """Returns the sums of each bootstrap draw of a stratum's rows."""
    num_at_once = max(1, MAX_ROWS // rows.height)
    sums: list[dict[str, float]] = []
    for first in range(0, NUM_DRAWS, num_at_once):
        num = min(num_at_once, NUM_DRAWS - first)
        drawn = rows.sample(
            num * rows.height, with_replacement=True, shuffle=True, seed=seed * NUM_DRAWS + first
        )
        of_draw = (pl.int_range(pl.len()) // rows.height).alias("draw")
        grouped = drawn.with_columns(of_draw).group_by("draw", maintain_order=True)
        found = grouped.agg(
            pl.len().cast(pl.Float64).alias("n"),
            pl.col(FLAGS).sum().cast(pl.Float64),
            pl.col(COSTS).sum(),
        )
        sums += found.drop("draw").rows(named=True)
    return sums


def _quantile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)
