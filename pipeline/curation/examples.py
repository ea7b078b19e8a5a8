"""Which records the report shows beside each cut, so that a reader can judge the reward. Pure."""

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from pipeline.curation.figures import passed_at, types_of
from pipeline.curation.layout import RewardStage

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
    return [
        row
        for stage in RewardStage
        for name in types_of(decisions)[:MAX_TYPES]
        for row in _of_type(decisions, stage=stage, name=name)
    ]


def _of_type(decisions: pl.DataFrame, *, stage: RewardStage, name: str) -> list[ExampleRow]:
    scored = decisions.filter(pl.col("type") == name, pl.col(f"{stage}_rank").is_not_null())
    ranked = scored.sort(f"{stage}_rank")
    passed = ranked.filter(passed_at(stage))
    failed = ranked.filter(~passed_at(stage))
    bands = {
        Band.TOP: passed.head(PER_BAND),
        Band.ABOVE: passed.tail(PER_BAND),
        Band.BELOW: failed.head(PER_BAND),
        Band.BOTTOM: failed.tail(PER_BAND),
    }
    seen: set[int] = set()
    rows: list[ExampleRow] = []
    for band, members in bands.items():
        found = [_row(values, stage=stage, band=band) for values in members.iter_rows(named=True)]
        rows += [row for row in found if row.position not in seen]
        seen |= {row.position for row in found}
    return rows


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
