"""The learning-rate schedule: linear warm-up, then half a cosine down to zero. Pure."""

import math


def learning_rate(step: int, *, peak: float, num_steps: int, warmup: float) -> float:
    """Returns the rate of a step, counted from 0; `warmup` is a share of all steps."""
    num_warm = max(1, round(warmup * num_steps))
    if step < num_warm:
        return peak * (step + 1) / num_warm
    progress = (step - num_warm) / max(1, num_steps - num_warm)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
