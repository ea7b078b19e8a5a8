"""Which records the report shows beside each cut, so that a reader can judge the reward. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from align2llava.pipeline.curation.figures.decisions import passed_at, types_of
from align2llava.pipeline.curation.layout import RewardStage

MAX_TYPES = 6
PER_BAND = 2


class Band(StrEnum):
    """A place in the ranking of one stage and type."""

    TOP = "top"
    ABOVE = "just above the cut"
    BELOW = "just below the cut"
    BOTTOM = "bottom"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRow:
    """A record chosen to be shown, as its stage saw it."""

    stage: RewardStage
    type: str
    band: Band
    position: int
    uid: str
    id: str
    reward: float
    rank: int
    decision: str
    reason: str


def choose_examples(decisions: pl.DataFrame) -> list[ExampleRow]:
    """Returns `PER_BAND` records of each band, for each stage and the `MAX_TYPES` largest types.

    A record of a small stratum stands in its first band only.
    """
    types = types_of(decisions)[:MAX_TYPES]
    chosen = {stage: _chosen(decisions, stage, types) for stage in RewardStage}
    positions = {one.position for of_stage in chosen.values() for one in of_stage}
    rows = decisions.filter(pl.col("position").is_in(list(positions)))
    found = {row["position"]: row for row in rows.iter_rows(named=True)}
    return [
        _row(found[one.position], stage=stage, band=one.band)
        for stage, of_stage in chosen.items()
        for one in of_stage
    ]


@dataclass(frozen=True, slots=True)
class _Chosen:
    band: Band
    position: int


def _chosen(decisions: pl.DataFrame, stage: RewardStage, types: Sequence[str]) -> list[_Chosen]:
    rank = f"{stage}_rank"
    found = decisions.lazy().filter(pl.col(rank).is_not_null())
    ranked = found.select("type", "position", rank, passed_at(stage).alias("ok")).collect()
    rows = {name: of_type for (name,), of_type in ranked.partition_by("type", as_dict=True).items()}
    return [one for name in types if name in rows for one in _of_type(rows[name], rank=rank)]


def _of_type(ranked: pl.DataFrame, *, rank: str) -> list[_Chosen]:
    passed, failed = ranked.filter("ok"), ranked.filter(~pl.col("ok"))
    bands = {
        Band.TOP: passed.bottom_k(PER_BAND, by=rank),
        Band.ABOVE: passed.top_k(PER_BAND, by=rank),
        Band.BELOW: failed.bottom_k(PER_BAND, by=rank),
        Band.BOTTOM: failed.top_k(PER_BAND, by=rank),
    }
    chosen: dict[int, Band] = {}
    for band, members in bands.items():
        for position in members.sort(rank)["position"]:
            chosen.setdefault(position, band)
    return [_Chosen(band, position) for position, band in chosen.items()]


def _row(values: dict[str, object], *, stage: RewardStage, band: Band) -> ExampleRow:
    return ExampleRow(
        stage=stage,
        type=str(values["type"]),
        band=band,
        position=int(str(values["position"])),
        uid=str(values["uid"]),
        id=str(values["id"]),
        reward=float(str(values[f"{stage}_reward"])),
        rank=int(str(values[f"{stage}_rank"])),
        decision=str(values["decision"]),
        reason=str(values["reason"]),
    )
