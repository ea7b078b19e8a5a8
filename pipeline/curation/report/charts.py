"""Geometry of the report's charts, in SVG user units. Pure; the template turns it into SVG.

Nothing here makes markup, so nothing here has to escape.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from align2llava.pipeline.curation.figures.decisions import LengthDecile, StageRewards
from align2llava.pipeline.curation.figures.spend import ServicePace

WIDTH = 340.0
PLOT_HEIGHT = 108.0
TOP = 20.0  # room for the label of the cut
SIDE = 6.0
MAX_TICKS = 5
TIME_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A rectangle; `kind` is its CSS class."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A labelled place on the horizontal axis."""

    x: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A bar chart; `cut_x` is where the cut's line stands, `cut_anchor` where its label goes.

    `fragile` marks where a record is fragile, over the bars.
    """

    width: float
    height: float
    floor_y: float
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    cut_x: float | None = None
    cut_anchor: str = "start"
    fragile: Bar | None = None


def histogram(rewards: StageRewards, *, reach: float = 0.0) -> Chart:
    """Returns the reward histogram of one stage and type: what passed stands on what did not.

    Records within `reach` of the other side of the cut are fragile; 0 = none is.
    """
    low, high = rewards.edges[0], rewards.edges[-1]
    step = (WIDTH - 2 * SIDE) / len(rewards.passed)
    tallest = max(map(sum, zip(rewards.passed, rewards.failed, strict=True)))
    bars: list[Bar] = []
    for index, (passed, failed) in enumerate(zip(rewards.passed, rewards.failed, strict=True)):
        x = SIDE + step * index
        failed_height = PLOT_HEIGHT * failed / tallest
        bars += _bar("failed", x, width=step, height=failed_height, lift=0.0)
        bars += _bar(
            "passed", x, width=step, height=PLOT_HEIGHT * passed / tallest, lift=failed_height
        )
    cut_x = _cut_x(rewards)
    return Chart(
        width=WIDTH,
        height=TOP + PLOT_HEIGHT + 20.0,
        floor_y=TOP + PLOT_HEIGHT,
        bars=tuple(bars),
        ticks=tuple(
            Tick(x=_place(value, low, high), label=label) for value, label in nice_ticks(low, high)
        ),
        cut_x=cut_x,
        cut_anchor="end" if cut_x is not None and cut_x > WIDTH / 2 else "start",
        fragile=_fragile(rewards, reach),
    )


def _fragile(rewards: StageRewards, reach: float) -> Bar | None:
    lowest, highest = rewards.lowest_passed, rewards.highest_failed
    if lowest is None or highest is None or highest + reach < lowest - reach or reach == 0:
        return None
    low, high = rewards.edges[0], rewards.edges[-1]
    left = _place(max(low, lowest - reach), low, high)
    right = _place(min(high, highest + reach), low, high)
    return Bar(kind="fragile", x=left, y=TOP, width=max(right - left, 1.0), height=PLOT_HEIGHT)


def _bar(kind: str, x: float, *, width: float, height: float, lift: float) -> list[Bar]:
    if height <= 0:
        return []
    drawn = max(height, 1.0)  # one record among thousands stays visible
    y = TOP + PLOT_HEIGHT - lift - drawn
    return [Bar(kind=kind, x=x + 0.6, y=y, width=max(width - 1.2, 0.5), height=drawn)]


def _cut_x(rewards: StageRewards) -> float | None:
    if rewards.lowest_passed is None or rewards.highest_failed is None:
        return None
    middle = (rewards.lowest_passed + rewards.highest_failed) / 2
    return _place(middle, rewards.edges[0], rewards.edges[-1])


def _place(value: float, low: float, high: float) -> float:
    return SIDE + (WIDTH - 2 * SIDE) * (value - low) / (high - low)


def nice_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Returns at most `MAX_TICKS` round values inside [low, high] with their labels."""
    rough = (high - low) / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    decimals = max(0, -math.floor(math.log10(step)) + (step / power == 2.5))
    first = math.ceil(low / step)
    last = math.floor(high / step)
    return [(index * step, f"{index * step:.{decimals}f}") for index in range(first, last + 1)]


def kept_columns(deciles: Sequence[LengthDecile]) -> Chart:
    """Returns columns of the share kept per length decile; the floor is 0, the top the largest."""
    shares = [decile.num_kept / decile.num_records for decile in deciles]
    tallest = max(shares, default=0.0) or 1.0
    step = (WIDTH - 2 * SIDE) / max(len(shares), 1)
    bars = [
        bar
        for index, share in enumerate(shares)
        for bar in _bar(
            "passed",
            SIDE + step * index,
            width=step,
            height=PLOT_HEIGHT * share / tallest,
            lift=0.0,
        )
    ]
    return Chart(
        width=WIDTH,
        height=TOP + PLOT_HEIGHT + 20.0,
        floor_y=TOP + PLOT_HEIGHT,
        bars=tuple(bars),
        ticks=_ends(deciles),
    )


def _ends(deciles: Sequence[LengthDecile]) -> tuple[Tick, ...]:
    if not deciles:
        return ()
    shortest, longest = deciles[0].lowest_words, deciles[-1].highest_words
    return (
        Tick(x=SIDE, label=f"{shortest} words", anchor="start"),
        Tick(x=WIDTH - SIDE, label=f"{longest} words", anchor="end"),
    )


def pace_columns(pace: ServicePace) -> Chart:
    """Returns columns of items a second over time; each is as wide as its step is long."""
    tallest = max((step.rate for step in pace.steps), default=0.0) or 1.0
    scale = (WIDTH - 2 * SIDE) / pace.seconds if pace.seconds else 0.0
    bars = [
        bar
        for step in pace.steps
        for bar in _bar(
            "passed",
            SIDE + scale * step.start_s,
            width=scale * (step.end_s - step.start_s),
            height=PLOT_HEIGHT * step.rate / tallest,
            lift=0.0,
        )
    ]
    return Chart(
        width=WIDTH,
        height=TOP + PLOT_HEIGHT + 20.0,
        floor_y=TOP + PLOT_HEIGHT,
        bars=tuple(bars),
        ticks=_times(pace.seconds),
    )


def _times(seconds: float) -> tuple[Tick, ...]:
    if not seconds:
        return ()
    unit, name = next(one for one in TIME_UNITS if seconds >= 2 * one[0] or one[0] == 1)
    ticks = nice_ticks(0.0, seconds / unit)
    return tuple(
        Tick(
            x=_place(value, 0.0, seconds / unit),
            label=f"{label} {name}" if index else label,
            anchor="middle"
            if index and value < 0.97 * seconds / unit
            else "end"
            if index
            else "start",
        )
        for index, (value, label) in enumerate(ticks)
    )
