import pytest

from align2llava.pipeline.training.schedule import learning_rate


def rate(step: int) -> float:
    return learning_rate(step, peak=2.0, num_steps=100, warmup=0.1)


def test_the_rate_rises_linearly_to_its_peak_then_falls_to_zero():
    assert rate(0) == pytest.approx(0.2)
    assert rate(9) == pytest.approx(2.0)
    assert rate(55) == pytest.approx(1.0)
    assert rate(99) < 0.01
    falling = [rate(step) for step in range(10, 100)]
    assert falling == sorted(falling, reverse=True)


def test_without_warmup_the_first_step_has_the_peak():
    assert learning_rate(0, peak=2.0, num_steps=10, warmup=0.0) == 2.0
