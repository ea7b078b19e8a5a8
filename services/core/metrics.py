"""What one would plot: requests by code, what waits, batches, device time, tokens.

Served by BentoML at `/metrics`. Made at start and not at import, because BentoML imports the services before it
tells `prometheus_client` its directory.

`prometheus_client` keeps a file for each type of instrument and each way to sum gauges, and a reader
of `/metrics` that finds one still empty fails. So all that BentoML's own instruments use have one of ours,
made before anything is served.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from align2llava.services.core.batching import BatchStats

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

OK = "ok"  # the code of a request that was answered
CANCELLED = "cancelled"  # of one whose caller went away

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The instruments of one service process."""

    requests: "Counter"
    item_errors: "Counter"
    queue_items: "Gauge"
    load_seconds: "Gauge"
    request_seconds: "Histogram"
    batch_items: "Histogram"
    wait_seconds: "Histogram"
    device_seconds: "Counter"
    tokens: "Counter"

    def count_request(self, *, surface: str, method: str, code: str, elapsed_s: float) -> None:
        """Counts one answered request; `code` is `ok` or a name of the code table."""
        self.requests.labels(surface=surface, method=method, code=code).inc()
        self.request_seconds.labels(surface=surface, method=method).observe(elapsed_s)

    def count_batch(self, stats: BatchStats) -> None:
        """Counts one call of the device."""
        self.batch_items.observe(stats.num_items)
        self.wait_seconds.observe(stats.max_wait_ms / 1e3)
        self.device_seconds.inc(stats.device_ms / 1e3)

    def set_queue(self, num_items: int) -> None:
        """Shows how many items are accepted and not answered."""
        self.queue_items.set(num_items)


@cache
def metrics() -> Metrics:
    """Returns the process's instruments; makes them at the first call."""
    from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415  (see the module)

    return Metrics(
        requests=Counter(
            "a2l_requests", "Answered requests.", labelnames=("surface", "method", "code")
        ),
        item_errors=Counter("a2l_item_errors", "Errors of single items.", labelnames=("code",)),
        queue_items=Gauge(
            "a2l_queue_items",
            "Items accepted and not answered yet.",
            multiprocess_mode="livesum",
        ),
        load_seconds=Gauge(
            "a2l_load_seconds",
            "Time a process took to load its model and warm it up; 0 until then.",
            multiprocess_mode="all",
        ),
        request_seconds=Histogram(
            "a2l_request_seconds",
            "Time from a request's arrival to its answer.",
            labelnames=("surface", "method"),
            buckets=_SECONDS_BUCKETS,
        ),
        batch_items=Histogram(
            "a2l_batch_items", "Items in one call of the device.", buckets=_BATCH_BUCKETS
        ),
        wait_seconds=Histogram(
            "a2l_wait_seconds",
            "Time the oldest job of a batch waited for the device.",
            buckets=_SECONDS_BUCKETS,
        ),
        device_seconds=Counter("a2l_device_seconds", "Time spent in the engine."),
        tokens=Counter("a2l_tokens", "Tokens computed.", labelnames=("part",)),
    )
