"""What a run's noise and its fragile decisions are called, a line for each stage. Pure."""

from collections.abc import Iterable, Sequence

from align2llava.pipeline.curation.figures.noise import Fragility, Noise
from align2llava.pipeline.curation.layout import RewardStage


def noise_lines(noise: Iterable[Noise], fragile: Sequence[Fragility]) -> list[str]:
    """Returns one line for each stage that has rewards."""
    measured = {one.stage: one for one in noise}
    return [
        _line(stage, measured.get(stage), [one for one in fragile if one.stage is stage])
        for stage in RewardStage
        if any(one.stage is stage for one in fragile)
    ]


def _line(stage: RewardStage, noise: Noise | None, fragile: Sequence[Fragility]) -> str:
    if noise is None:
        return f"{stage} rewards: noise was not measured, as no canary was compared"
    asked = f"{noise.num_canaries} canaries, {noise.num_compared} comparisons"
    if noise.rms == 0:
        return f"{stage} rewards: no noise ({asked}, all equal), so that no decision is fragile"
    num_fragile = sum(one.num_fragile or 0 for one in fragile)
    num_scored = sum(one.num_scored for one in fragile)
    return (
        f"{stage} rewards: {num_fragile:,} of {num_scored:,} decisions "
        f"({num_fragile / num_scored * 100:.1f} %) are fragile; noise rms {noise.rms:.3g}, "
        f"largest {noise.largest:.3g} ({asked}, {noise.num_moved:,} moved)"
    )
