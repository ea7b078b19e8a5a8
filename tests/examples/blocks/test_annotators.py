from random import Random
from statistics import fmean

from examples.blocks.annotators import NUM_ANNOTATORS, rated


def test_scores_are_steps_of_a_tenth_between_zero_and_one():
    rng = Random(0)
    for _ in range(200):
        for rating in rated([0.9, 0.3, 0.5], rng):
            assert len(rating.annotators) == NUM_ANNOTATORS
            for score in (*rating.annotators, rating.score):
                assert 0.0 <= score <= 1.0
                assert abs(score * 10 - round(score * 10)) < 1e-9


def test_annotators_are_right_on_average_and_often_tie():
    rng = Random(0)
    groups = [rated([0.6, 0.5], rng) for _ in range(500)]
    better = fmean(group[0].score for group in groups)
    worse = fmean(group[1].score for group in groups)
    ties = sum(group[0].score == group[1].score for group in groups)
    swaps = sum(group[0].score < group[1].score for group in groups)
    assert 0.06 < better - worse < 0.14
    assert ties > 25
    assert swaps > 5


def test_the_mood_is_shared_by_an_image():
    rng = Random(0)
    groups = [rated([0.5, 0.5], rng) for _ in range(500)]
    product = fmean((a.score - 0.5) * (b.score - 0.5) for a, b in groups)
    assert product > 0.005


def test_refusals_are_zero_without_doubt():
    assert all(rating.score == 0.0 for rating in rated([0.0] * 5, Random(0)))
