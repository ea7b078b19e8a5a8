"""Errors of the driver: one base, each class with the exit code `a2l` ends with.

PipelineError
  +-- ConfigError        2   usage or config
  +-- InputError         2   a file we read: missing, unreadable, or with a syntax error
  +-- RunError           2   the run directory cannot be used as asked
  +-- QuarantineError    3   more quarantined than the limit; dataset and manifest are written
  +-- EndpointError      4   unreachable, refusing our key, or of another identity
  +-- BudgetError        5   the budget is reached; resumable
  +-- StoreError         1   a local write failed
  +-- WorkerError        1   a process that reads the input died
  +-- TerminatedError  143   SIGTERM; the run is resumable
"""

from pathlib import Path


class PipelineError(Exception):
    """Base of all; the message is one line: what was wrong, which one, and the limit."""

    exit_code: int = 1


class ConfigError(PipelineError):
    """The config, an option or an environment name is wrong."""

    exit_code = 2


class InputError(PipelineError):
    """A file we read is missing or broken; `offset` counts bytes from its start."""

    exit_code = 2

    def __init__(self, message: str, *, path: Path, offset: int | None = None) -> None:
        where = f"{path}" if offset is None else f"{path}: byte {offset}"
        super().__init__(f"{where}: {message}")
        self.path = path
        self.offset = offset


class RunError(PipelineError):
    """A run directory exists, is held by another process, lacks rewards, or is not one."""

    exit_code = 2


class QuarantineError(PipelineError):
    """The share of quarantined records is above `run.quarantine_limit`."""

    exit_code = 3


class EndpointError(PipelineError):
    """A service cannot be reached, refuses our key, or is another model than before."""

    exit_code = 4


class BudgetError(PipelineError):
    """The budget is reached; what was answered is stored, and the run is resumable."""

    exit_code = 5


class StoreError(PipelineError):
    """A write into the run directory failed; what was acknowledged is safe."""

    exit_code = 1


class WorkerError(PipelineError):
    """A process that reads the input died; nothing was spent."""

    exit_code = 1


class TerminatedError(PipelineError):
    """SIGTERM arrived; everything acknowledged is stored."""

    exit_code = 143
