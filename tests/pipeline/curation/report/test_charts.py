from typing import Any

import pytest

from align2llava.pipeline.curation.figures.decisions import LengthDecile, StageRewards
from align2llava.pipeline.curation.figures.spend import PaceStep, ServicePace
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.report.charts import (
    PLOT_HEIGHT,
    SIDE,
    WIDTH,
    histogram,
    kept_columns,
    nice_ticks,
    pace_columns,
)


def rewards(passed: tuple[int, ...], failed: tuple[int, ...], **changes: Any) -> StageRewards:
    values: dict[str, Any] = {
        "stage": RewardStage.QUESTION,
        "type": "detail",
        "num_scored": sum(passed) + sum(failed),
        "num_passed": sum(passed),
        "mean": 0.0,
        "median": 0.0,
        "lowest_passed": 0.6,
        "highest_failed": 0.4,
        "margin_at_cut": 0.2,
        "edges": tuple(index / len(passed) for index in range(len(passed) + 1)),
        "passed": passed,
        "failed": failed,
    }
    return StageRewards(**(values | changes))


def test_tallest_bin_fills_the_plot_and_the_rest_is_in_proportion():
    chart = histogram(rewards((0, 4), (8, 0)))
    heights = {bar.kind: bar.height for bar in chart.bars}
    assert heights == {"failed": PLOT_HEIGHT, "passed": PLOT_HEIGHT / 2}
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in chart.bars)


def test_shared_bin_stacks_passed_on_failed():
    failed, passed = histogram(rewards((1,), (3,))).bars
    assert passed.y + passed.height == pytest.approx(failed.y)


def test_one_record_among_thousands_stays_visible():
    assert min(bar.height for bar in histogram(rewards((1, 0), (0, 9000))).bars) >= 1.0


def test_cut_stands_between_passed_and_failed():
    chart = histogram(rewards((0, 4), (8, 0)))
    assert chart.cut_x == pytest.approx(WIDTH / 2)


def test_cut_that_divides_nothing_is_not_drawn():
    assert histogram(rewards((4,), (0,), highest_failed=None)).cut_x is None


def test_noise_is_marked_on_both_sides_of_the_cut():
    marked = histogram(rewards((0, 4), (8, 0)), reach=0.3).fragile  # the cut: 0.4 and 0.6
    assert marked is not None
    plot = WIDTH - 2 * SIDE
    assert marked.x == pytest.approx(SIDE + plot * 0.3)
    assert marked.x + marked.width == pytest.approx(SIDE + plot * 0.7)


def test_wide_noise_is_marked_inside_the_chart_only():
    marked = histogram(rewards((0, 4), (8, 0)), reach=9.0).fragile
    assert marked is not None
    assert (marked.x, marked.width) == (SIDE, WIDTH - 2 * SIDE)


@pytest.mark.parametrize(
    ("reach", "changes"),
    [
        (0.0, {"lowest_passed": 0.5, "highest_failed": 0.5}),
        (0.05, {}),
        (1.0, {"lowest_passed": None}),
    ],
    ids=["no noise", "noise below the margin", "no cut"],
)
def test_cut_that_nothing_is_near_has_no_mark(reach: float, changes: dict[str, object]):
    assert histogram(rewards((0, 4), (8, 0), **changes), reach=reach).fragile is None


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-4.2, 3.3, ["-4", "-2", "0", "2"]),
        (0.012, 0.019, ["0.012", "0.014", "0.016", "0.018"]),
        (-1000.0, 900.0, ["-1000", "-500", "0", "500"]),
        (0.0, 1.0, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low: float, high: float, labels: list[str]):
    assert [label for _, label in nice_ticks(low, high)] == labels


def test_columns_show_the_share_kept_of_each_decile():
    deciles = [
        LengthDecile(lowest_words=1, highest_words=4, num_records=10, num_kept=1),
        LengthDecile(lowest_words=4, highest_words=9, num_records=10, num_kept=2),
    ]
    chart = kept_columns(deciles)
    assert [bar.height for bar in chart.bars] == [PLOT_HEIGHT / 2, PLOT_HEIGHT]
    assert [tick.label for tick in chart.ticks] == ["1 words", "9 words"]


def test_no_deciles_make_an_empty_chart():
    assert kept_columns([]).bars == ()


def pace(*steps: tuple[float, int]) -> ServicePace:
    ends = [sum(seconds for seconds, _ in steps[: index + 1]) for index in range(len(steps))]
    return ServicePace(
        service="question-reward",
        num_items=sum(items for _, items in steps),
        num_calls=len(steps),
        seconds=ends[-1],
        device_s=0.0,
        steps=tuple(
            PaceStep(start_s=end - seconds, end_s=end, num_items=items, device_s=0.0)
            for end, (seconds, items) in zip(ends, steps, strict=True)
        ),
    )


def test_columns_of_pace_are_as_high_as_the_rate_and_as_wide_as_the_time():
    slow, fast = pace_columns(pace((30.0, 300), (10.0, 200))).bars
    assert (slow.height, fast.height) == (PLOT_HEIGHT / 2, PLOT_HEIGHT)
    assert slow.width + 1.2 == pytest.approx(3 * (fast.width + 1.2))
    assert fast.x + fast.width <= WIDTH - SIDE


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (45.0, ["0", "20 s", "40 s"]),
        (600.0, ["0.0", "2.5 min", "5.0 min", "7.5 min", "10.0 min"]),
        (36_000.0, ["0.0", "2.5 h", "5.0 h", "7.5 h", "10.0 h"]),
    ],
)
def test_time_is_told_in_the_unit_that_reads_best(seconds: float, labels: list[str]):
    assert [tick.label for tick in pace_columns(pace((seconds, 9))).ticks] == labels


def test_pace_of_an_instant_is_an_empty_axis():
    assert pace_columns(pace((0.0, 9))).ticks == ()
