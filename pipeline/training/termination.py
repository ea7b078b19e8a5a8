"""SIGTERM during a training: finish the step, snapshot, exit 75."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from align2llava.pipeline.errors import PipelineError


class CheckpointedError(PipelineError):
    """SIGTERM arrived; the snapshot is written and `--resume auto` goes on from it."""

    exit_code = 75


class Termination:
    """Whether SIGTERM has arrived."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, _signal: int, _frame: FrameType | None) -> None:
        """Notes the signal."""
        self.requested = True


@contextmanager
def noted_sigterm() -> Generator[Termination]:
    """Notes SIGTERM instead of dying of it, until left; main thread only."""
    termination = Termination()
    before = signal.signal(signal.SIGTERM, termination.request)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, before)
