"""What a run cost, and how fast it went: device time, wall time, items answered over time."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from align2llava.pipeline.curation.layout import RewardStage, RunPaths
from align2llava.pipeline.curation.run.finished import score_rows
from align2llava.pipeline.curation.store.events import ANSWERED, number_of

MAX_STEPS = 60
MIN_STEP_S = 0.5


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

    Raises:
        RunError: an event lacks a number.
    """
    seconds: dict[str, float] = {}
    records: dict[str, int] = {}
    for event in events:
        if event.get("event") != "stage_finished":
            continue
        stage = str(event.get("stage"))
        seconds[stage] = seconds.get(stage, 0.0) + number_of(event, "seconds")
        records[stage] = int(number_of(event, "num_records"))
    return [
        StageTime(stage=stage, seconds=total, num_records=records[stage])
        for stage, total in seconds.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceStep:
    """What a service answered between two times, in seconds since its first call went out."""

    start_s: float
    end_s: float
    num_items: int
    device_s: float

    @property
    def rate(self) -> float:
        """Items a second."""
        seconds = self.end_s - self.start_s
        return self.num_items / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePace:
    """How fast one service answered, in at most `MAX_STEPS` steps that follow each other.

    Starts of the run follow each other too: what lay between them is left out.
    """

    service: str
    num_items: int
    num_calls: int
    seconds: float
    device_s: float
    steps: tuple[PaceStep, ...]


def service_paces(events: Iterable[Mapping[str, object]]) -> list[ServicePace]:
    """Returns the pace of each service from the run's events, in the order they first answered.

    Raises:
        RunError: an event lacks a number.
    """
    traces: dict[str, _Trace] = {}
    for event in events:
        if event.get("event") == "run_started":
            for trace in traces.values():
                trace.start_again()
        if event.get("event") == ANSWERED:
            traces.setdefault(str(event.get("service")), _Trace()).add(event)
    return [
        ServicePace(
            service=service,
            num_items=sum(step.num_items for step in trace.steps),
            num_calls=trace.num_calls,
            seconds=trace.steps[-1].end_s,
            device_s=math.fsum(step.device_s for step in trace.steps),
            steps=tuple(coarser(trace.steps)),
        )
        for service, trace in traces.items()
    ]


class _Trace:
    """The steps of one service, one for each event."""

    def __init__(self) -> None:
        self.steps: list[PaceStep] = []
        self.num_calls = 0
        self._offset_s = 0.0  # of this start of the run
        self._elapsed_s = 0.0

    def start_again(self) -> None:
        self._offset_s += self._elapsed_s
        self._elapsed_s = 0.0

    def add(self, event: Mapping[str, object]) -> None:
        elapsed_s = number_of(event, "elapsed_s")
        if elapsed_s < self._elapsed_s:  # `a2l align` starts without saying so beforehand
            self.start_again()
        step = PaceStep(
            start_s=self._offset_s + self._elapsed_s,
            end_s=self._offset_s + elapsed_s,
            num_items=int(number_of(event, "num_items")),
            device_s=number_of(event, "device_ms") / 1000,
        )
        self._elapsed_s = elapsed_s
        self.num_calls += int(number_of(event, "num_calls"))
        self.steps.append(step)


def coarser(steps: Sequence[PaceStep]) -> list[PaceStep]:
    """Returns neighbours joined, so that no more than `MAX_STEPS` are left and none is an instant.

    A step of zero length, such as the last event of a start, would show as an infinite rate.
    """
    total_s = steps[-1].end_s - steps[0].start_s if steps else 0.0
    shortest_s = max(MIN_STEP_S, total_s / MAX_STEPS)
    joined: list[PaceStep] = []
    for step in steps:
        if joined and _is_short(joined[-1], shortest_s):
            joined[-1] = _joined(joined[-1], step)
        else:
            joined.append(step)
    if len(joined) > 1 and _is_short(joined[-1], shortest_s):
        last = joined.pop()
        joined[-1] = _joined(joined[-1], last)
    return joined


def _is_short(step: PaceStep, shortest_s: float) -> bool:
    return step.end_s - step.start_s < shortest_s


def _joined(first: PaceStep, second: PaceStep) -> PaceStep:
    return PaceStep(
        start_s=first.start_s,
        end_s=second.end_s,
        num_items=first.num_items + second.num_items,
        device_s=first.device_s + second.device_s,
    )


def score_totals(paths: RunPaths) -> list[ScoreTotals]:
    """Returns what each stage that ran has cost."""
    return [
        _totals(stage, rows)
        for stage in RewardStage
        if (rows := score_rows(paths, stage)) is not None
    ]


def _totals(stage: RewardStage, rows: pl.LazyFrame) -> ScoreTotals:
    sums = rows.select(
        pl.len().alias("num_rewards"),
        pl.col("num_tokens").sum(),
        pl.col("truncated").sum().alias("num_truncated"),
        pl.col("device_ms").sum(),
    ).collect()
    found = sums.row(0, named=True)
    return ScoreTotals(
        stage=stage,
        num_rewards=found["num_rewards"],
        num_tokens=found["num_tokens"],
        num_truncated=found["num_truncated"],
        device_s=found["device_ms"] / 1000,
    )
