"""A plan as a table for a terminal. Pure."""

from collections.abc import Callable, Iterator

from align2llava.pipeline.curation.ahead.plan import Plan
from align2llava.pipeline.curation.ahead.plan_figures import Estimate, StageEstimate
from align2llava.pipeline.curation.wording import count, percent, seconds

_NAMES = {
    "records": "records",
    "calls": "calls",
    "items": "items",
    "image_bytes": "image bytes",
    "tokens": "tokens",
    "device_s": "GPU time",
    "wall_s": "wall time",
}
_UNITS = ("B", "kB", "MB", "GB", "TB")


def plan_text(plan: Plan) -> str:
    """Returns the plan as lines."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    share = percent(plan.num_sampled / plan.num_input if plan.num_input else None)
    yield (
        f"{count(plan.num_sampled)} of {count(plan.num_input)} records ({share}) were curated in "
        f"{seconds(plan.seconds)}; all of them would take:"
    )
    yield (f"  {'stage':<9} {'figure':<12} {'sample':>11} {'whole input':>12}   95 % interval")
    for stage in plan.stages:
        yield from _stage(stage)
    if not plan.stages:
        yield "  nothing: no stage asks a service"
        return
    total = {name: sum(_figure(stage, name).value for stage in plan.stages) for name in _NAMES}
    for name in ("calls", "image_bytes", "tokens", "device_s", "wall_s"):
        first = "all" if name == "calls" else ""
        yield f"  {first:<9} {_NAMES[name]:<12} {'':>11} {_shown(name)(total[name]):>12}"
    yield from (f"warning: {warning}" for warning in plan.warnings)
    yield (
        "Wall time is at the pace of the sample, which is too short to fill the services; reading "
        "and hashing the input comes on top. Retries, canaries and images sent again do not count."
    )


def _stage(stage: StageEstimate) -> Iterator[str]:
    for name, title in _NAMES.items():
        one = _figure(stage, name)
        if name == "image_bytes" and not one.high:
            continue
        shown = _shown(name)
        label = stage.stage.value if name == "records" else ""
        yield (
            f"  {label:<9} {title:<12} {shown(one.sample):>11} {shown(one.value):>12}   "
            f"{shown(one.low)} to {shown(one.high)}"
        )


def _figure(stage: StageEstimate, name: str) -> Estimate:
    figures = {
        "records": stage.records,
        "calls": stage.calls,
        "items": stage.items,
        "image_bytes": stage.image_bytes,
        "tokens": stage.tokens,
        "device_s": stage.device_s,
        "wall_s": stage.wall_s,
    }
    return figures[name]


def _shown(name: str) -> Callable[[float], str]:
    if name in ("device_s", "wall_s"):
        return seconds
    return _bytes if name == "image_bytes" else lambda value: count(round(value))


def _bytes(value: float) -> str:
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
