"""What a run cost: device time of the stored rewards, wall time of its stages. Values only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.curation.layout import RewardStage


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTotals:
    """What one stage's rewards cost, over every stored row."""

    stage: RewardStage
    num_rewards: int
    num_tokens: int
    num_truncated: int
    device_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """Wall time of one stage over all starts of the run, and the records it went over."""

    stage: str
    seconds: float
    num_records: int


def stage_times(events: Iterable[Mapping[str, object]]) -> list[StageTime]:
    """Returns the wall time of each stage from the run's events, in the order they first ended.

    A run that was resumed ends a stage several times: seconds add up, records are the last's.
    """
    seconds: dict[str, float] = {}
    records: dict[str, int] = {}
    for event in events:
        if event.get("event") != "stage_finished":
            continue
        stage = str(event["stage"])
        seconds[stage] = seconds.get(stage, 0.0) + float(str(event["seconds"]))
        records[stage] = int(str(event["num_records"]))
    return [
        StageTime(stage=stage, seconds=total, num_records=records[stage])
        for stage, total in seconds.items()
    ]
