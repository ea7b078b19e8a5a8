import pytest

from pipeline.curation.charts import PLOT_HEIGHT, WIDTH, histogram, kept_columns, nice_ticks
from pipeline.curation.figures import LengthDecile, StageRewards
from pipeline.curation.layout import RewardStage


def rewards(passed: tuple[int, ...], failed: tuple[int, ...], **changes: object) -> StageRewards:
    values = {
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
