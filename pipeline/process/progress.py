"""Progress of a long verb: bars on a terminal, plain lines elsewhere; both on stderr."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from align2llava.pipeline.screen import tell

SECONDS_BETWEEN_LINES = 5.0


class ProgressView(Protocol):
    """Shows how far each stage is; `total` None = not known beforehand."""

    def start(self, stage: str, *, total: int | None) -> None:
        """Begins a stage."""
        ...

    def advance(self, num_done: int) -> None:
        """Counts records of the current stage as done."""
        ...

    def finish(self) -> None:
        """Ends the current stage."""
        ...


class LineProgress:
    """Plain lines: one at the start, at the end, and every few seconds between."""

    def __init__(self) -> None:
        self._stage = ""
        self._total: int | None = None
        self._done = 0
        self._started = 0.0
        self._shown = 0.0

    def start(self, stage: str, *, total: int | None) -> None:
        """Begins a stage."""
        self._stage, self._total, self._done = stage, total, 0
        self._started = self._shown = time.monotonic()

    def advance(self, num_done: int) -> None:
        """Counts records of the current stage as done."""
        self._done += num_done
        if time.monotonic() - self._shown > SECONDS_BETWEEN_LINES:
            self._show()

    def finish(self) -> None:
        """Ends the current stage."""
        self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        of_total = "" if self._total is None else f"/{self._total}"
        seconds = self._shown - self._started
        tell(f"{self._stage}: {self._done}{of_total} records, {seconds:.1f} s")


class BarProgress:
    """A live bar for each stage."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def start(self, stage: str, *, total: int | None) -> None:
        """Begins a stage."""
        self._bars.start()
        self._task = self._bars.add_task(stage, total=total)

    def advance(self, num_done: int) -> None:
        """Counts records of the current stage as done."""
        if self._task is not None:
            self._bars.advance(self._task, num_done)

    def finish(self) -> None:
        """Ends the current stage; its bar stays."""
        if self._task is not None:
            done = self._bars.tasks[self._task].completed
            self._bars.update(self._task, total=done)
        self._task = None

    def close(self) -> None:
        """Gives the cursor back."""
        self._bars.stop()


@contextmanager
def progress_view() -> Generator[ProgressView]:
    """Gives bars where stderr is a terminal, else lines; the terminal is left as it was."""
    if not sys.stderr.isatty():
        yield LineProgress()
        return
    bars = BarProgress()
    try:
        yield bars
    finally:
        bars.close()
