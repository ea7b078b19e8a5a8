"""The circuit breaker of one replica. Pure: it is told the time.

Closed: calls pass. Open after failures in a row: none passes for a while. Half open, after that
while: one trial at a time; its answer closes the circuit, its failure opens it for longer.
Source: M. Nygard, Release It!, 2nd ed., sec. 5.2.
"""

import math

from align2llava.clients.retry import delay_s

FAILURES_TO_OPEN = 5


class Breaker:
    """Counts failures in a row of one replica."""

    def __init__(self) -> None:
        self._num_failures = 0  # in a row
        self._num_openings = 0  # in a row
        self._open_until = 0.0
        self._has_trial = False

    @property
    def is_closed(self) -> bool:
        """Returns whether calls pass freely."""
        return self._num_openings == 0

    def opens_at(self) -> float:
        """Returns from when on a call may pass; infinite while only the trial can tell."""
        if self.is_closed:
            return 0.0
        return math.inf if self._has_trial else self._open_until

    def sent(self) -> bool:
        """Notes a call that passes; returns whether it is the trial."""
        is_trial = not self.is_closed
        self._has_trial = self._has_trial or is_trial
        return is_trial

    def answered(self) -> None:
        """Notes that the replica is there and works."""
        self._num_failures = self._num_openings = 0
        self._has_trial = False

    def failed(self, now: float, *, is_trial: bool, jitter: float) -> None:
        """Notes a failure; `jitter` in [0, 1) spreads the trials of many clients."""
        self._num_failures += 1
        is_fresh = self.is_closed and self._num_failures >= FAILURES_TO_OPEN
        if not (is_trial or is_fresh):
            return  # closed still, or sent before it opened
        pause_s = delay_s(self._num_openings, retry_after_s=0.0, jitter=(1 + jitter) / 2)
        self._open_until = now + pause_s
        self._num_openings += 1
        self._has_trial = False

    def abandoned(self, *, is_trial: bool) -> None:
        """Notes a call that ended without telling anything; another trial may be made."""
        if is_trial:
            self._has_trial = False
