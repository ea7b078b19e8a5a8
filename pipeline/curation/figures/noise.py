"""How many decisions lie within the noise of their cut. Pure; knows no files and no services.

Noise is what canaries showed: the same item, asked twice of one service, and the difference of its two
rewards. A decision is fragile where a record lies within `SIGMAS` rms differences of the nearest record
on the other side of its cut: 2 sigma of the difference of two rewards. Equal rewards at a cut are told
apart by the keyed hash, not by noise, so that noise of zero makes none fragile.

An answer reward is a mean over turns, whose noise is smaller than that of one reward. It is counted as
that of one: the share is an upper bound there. What a flipped question decision would change in the
answer stage is not counted.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.curation.figures.decisions import finite, scored_by_type
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.store.events import CANARIES_COMPARED, number_of

SIGMAS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How much the rewards of one stage moved when the same items were asked again.

    `rms` and `largest` are of the differences to the first reward; `num_moved` counts those that are
    not zero. A canary that was compared several times counts each time.
    """

    stage: RewardStage
    num_canaries: int
    num_rounds: int
    num_compared: int
    num_moved: int
    rms: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragility:
    """The decisions of one stage and type that noise may flip; `num_fragile` None = not measured."""

    stage: RewardStage
    type: str
    num_scored: int
    num_fragile: int | None


def measured_noise(events: Iterable[Mapping[str, object]]) -> list[Noise]:
    """Returns the noise of each stage whose canaries were compared, over all starts of the run.

    Only rounds of the identity that was compared last count.
    """
    rounds: dict[str, list[Mapping[str, object]]] = {}
    for event in events:
        if event.get("event") == CANARIES_COMPARED and int(number_of(event, "num_compared")):
            rounds.setdefault(str(event.get("service")), []).append(event)
    return [
        _noise(stage, rounds[f"{stage}-reward"])
        for stage in RewardStage
        if f"{stage}-reward" in rounds
    ]


def _noise(stage: RewardStage, rounds: Sequence[Mapping[str, object]]) -> Noise:
    same = [event for event in rounds if event.get("identity") == rounds[-1].get("identity")]
    num_compared = sum(int(number_of(event, "num_compared")) for event in same)
    squares = math.fsum(
        number_of(event, "rms") ** 2 * number_of(event, "num_compared") for event in same
    )
    return Noise(
        stage=stage,
        num_canaries=max(int(number_of(event, "num_canaries")) for event in same),
        num_rounds=len(same),
        num_compared=num_compared,
        num_moved=sum(int(number_of(event, "num_moved")) for event in same),
        rms=math.sqrt(squares / num_compared),
        largest=max(number_of(event, "largest") for event in same),
    )


def fragile_decisions(decisions: pl.DataFrame, noise: Iterable[Noise]) -> list[Fragility]:
    """Returns the fragile decisions of each stage and type that has any reward.

    `type` in `decisions` is the stratum of the cut.
    """
    rms = {one.stage: one.rms for one in noise}
    return [
        Fragility(
            stage=stage,
            type=name,
            num_scored=rows.height,
            num_fragile=_num_fragile(rows, rms=rms[stage]) if stage in rms else None,
        )
        for stage in RewardStage
        for name, rows in scored_by_type(decisions, stage)
    ]


def _num_fragile(rows: pl.DataFrame, *, rms: float) -> int:
    lowest = finite(rows.filter("ok")["reward"].min())
    highest = finite(rows.filter(~pl.col("ok"))["reward"].max())
    if rms == 0 or lowest is None or highest is None:
        return 0
    other_side = pl.when("ok").then(pl.lit(highest)).otherwise(pl.lit(lowest))
    return rows.filter((pl.col("reward") - other_side).abs() <= SIGMAS * rms).height
