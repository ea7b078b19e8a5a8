"""When a call that takes long is asked for a second time elsewhere. Pure: it is told latencies.

Source: J. Dean and L. A. Barroso, The Tail at Scale, CACM 2013: hedged requests after the 95th
percentile, within a budget of 5 % more calls. The budget is of the whole run, not of a while: a second
call takes only an idle slot (see `clients.pool.pool`), so that those saved up cost nobody anything at its end.
"""

from collections import defaultdict, deque

from align2llava.clients.pool.limit import Shape

PERCENTILE = 0.95
BUDGET = 0.05  # second calls per first call
WINDOW = 200  # latencies remembered of each shape
MIN_LATENCIES = 20


class Hedging:
    """The latencies and the budget of one pool."""

    def __init__(self) -> None:
        self._saved = 0.0
        self._latencies: defaultdict[Shape, deque[float]] = defaultdict(
            lambda: deque(maxlen=WINDOW)
        )

    def sent(self) -> None:
        """Notes a first call: a share of a second one is earned."""
        self._saved += BUDGET

    def answered(self, shape: Shape, latency_s: float) -> None:
        """Notes how long an answer took."""
        self._latencies[shape].append(latency_s)

    def delay_s(self, shape: Shape) -> float | None:
        """Returns after how long a call of a shape is late, None while too few were seen.

        Never before twice the median: until then a second call would hardly come first.
        """
        if len(self._latencies[shape]) < MIN_LATENCIES:
            return None
        latencies = sorted(self._latencies[shape])
        return max(latencies[int(PERCENTILE * len(latencies))], 2 * latencies[len(latencies) // 2])

    def spend(self) -> bool:
        """Returns whether a second call is within the budget, and takes it."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
