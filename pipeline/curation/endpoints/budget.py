"""A budget: when a run stops asking. Counts what was spent, and ends the run in order.

Requests and minutes are held exactly; GPU-seconds are known when a call is answered, so that calls in
flight are spent on top. A call that belongs to one already answered (its review, its canaries) still
goes out. The run ends when nothing is in flight any more, so that what was answered is stored.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from align2llava.pipeline.curation.endpoints.metering import CallCost, MeteredConnector
from align2llava.pipeline.curation.endpoints.opening import Connector, NetworkConnector
from align2llava.pipeline.errors import BudgetError, ConfigError

SETTLE_S = 0.1  # without a call in flight: what was answered last has reached the store by then
_POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one start of a run, the first one reached ends it; None = no limit."""

    requests: int | None = None
    minutes: float | None = None
    gpu_seconds: float | None = None


def parse_budget(texts: Sequence[str]) -> Budget | None:
    """Returns the budget of `requests=N`, `minutes=N` and `gpu-seconds=N`; None without any.

    Raises:
        ConfigError: another name, a name twice, or no positive number (requests: a whole one).
    """
    limits: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in ("requests", "minutes", "gpu-seconds"):
            raise ConfigError(f"--budget {text}: write requests=N, minutes=N or gpu-seconds=N")
        if name in limits:
            raise ConfigError(f"--budget {text}: {name} is limited already")
        limits[name] = _positive(text, number, is_whole=name == "requests")
    if not limits:
        return None
    requests = limits.get("requests")
    return Budget(
        requests=None if requests is None else int(requests),
        minutes=limits.get("minutes"),
        gpu_seconds=limits.get("gpu-seconds"),
    )


class BudgetMeter:
    """Counts the calls of one start of a run, of all services together, against a budget.

    Minutes count from its making. `go_on` tells the reader of the error how to go on.
    """

    def __init__(
        self, budget: Budget, *, go_on: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._budget = budget
        self._go_on = go_on
        self._clock = clock
        self._started = clock()
        self._in_flight = 0
        self.num_requests = 0
        self.gpu_seconds = 0.0

    async def begin(self, *, ends_begun: bool) -> None:
        """Lets a call go out; `ends_begun` = it belongs to one that was answered already.

        Raises:
            BudgetError: the budget is reached; nothing was in flight any more.
        """
        reached = None if ends_begun else self._reached()
        if reached is not None:
            await self._settled()
            raise BudgetError(
                f"budget of {reached} reached: spent {self.num_requests} requests, "
                f"{self.gpu_seconds:.3g} GPU-seconds and {self._minutes():.3g} minutes; what was "
                f"answered is stored; {self._go_on}"
            )
        self.num_requests += 1
        self._in_flight += 1

    def end(self, cost: CallCost | None) -> None:
        """Takes the end of a call; None = it has no answer."""
        self._in_flight -= 1
        if cost is not None:
            self.gpu_seconds += sum(item.device_ms for item in cost.items) / 1000

    def _reached(self) -> str | None:
        budget = self._budget
        if budget.requests is not None and self.num_requests >= budget.requests:
            return f"{budget.requests} requests"
        if budget.gpu_seconds is not None and self.gpu_seconds >= budget.gpu_seconds:
            return f"{budget.gpu_seconds:g} GPU-seconds"
        if budget.minutes is not None and self._minutes() >= budget.minutes:
            return f"{budget.minutes:g} minutes"
        return None

    def _minutes(self) -> float:
        return (self._clock() - self._started) / 60

    async def _settled(self) -> None:
        quiet_s = 0.0
        while quiet_s < SETTLE_S:
            await asyncio.sleep(_POLL_S)
            quiet_s = 0.0 if self._in_flight else quiet_s + _POLL_S


def connector_within(budget: Budget | None, *, run_dir: Path) -> Connector:
    """Returns what opens the services of a run; a budget's clock starts here."""
    connector = NetworkConnector()
    if budget is None:
        return connector
    meter = BudgetMeter(budget, go_on=f"go on with --run-dir {run_dir} --resume always")
    return MeteredConnector(connector=connector, meter=meter)


def _positive(text: str, number: str, *, is_whole: bool) -> float:
    try:
        value = int(number) if is_whole else float(number)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        kind = "a whole number" if is_whole else "a number"
        raise ConfigError(f"--budget {text}: {kind} above 0 is needed")
    return value
