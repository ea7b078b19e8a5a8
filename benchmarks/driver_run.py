"""One curation in its own process, for the driver's benchmark: seconds and peak memory of each stage.

    python benchmarks/driver_run.py CONFIG RUN

Calls `curate` as `a2l curate` does; prints an `Outcome` as one line of JSON. The peak of a stage is the
kernel's high-water mark of resident memory, set back at the stage's start (Linux only).
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it sees its folder only

from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.deciding.curate import curate
from align2llava.pipeline.curation.endpoints.opening import NetworkConnector
from align2llava.pipeline.curation.run.resume import Resume
from align2llava.pipeline.process.memory import peak_rss_bytes

_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # Source: Linux, Documentation/filesystems/proc.rst, clear_refs


@dataclass(slots=True, kw_only=True)
class StageMark:
    """One stage as its progress told; times in seconds since the run began."""

    stage: str
    began_s: float
    ended_s: float = 0.0
    cpu_s: float = 0.0  # of the whole process
    num_records: int = 0
    peak_mb: float = 0.0  # 10**6 bytes

    @property
    def seconds(self) -> float:
        """What it took."""
        return self.ended_s - self.began_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run took; CPU time is that of this process alone."""

    stages: Sequence[StageMark]
    total_s: float
    cpu_s: float
    peak_mb: float  # of the whole run
    num_input: int
    num_kept: int
    num_quarantined: int

    def of(self, stage: str) -> Sequence[StageMark]:
        """Returns the marks of a stage; it may have run several times, or not at all."""
        return [mark for mark in self.stages if mark.stage == stage]


@dataclass(slots=True)
class StageMarks:
    """A `ProgressView` that notes when stages begin and end, and their peaks of memory."""

    began: float = field(default_factory=time.perf_counter)
    marks: list[StageMark] = field(default_factory=list)
    peak_mb: float = 0.0

    def start(self, stage: str, *, total: int | None) -> None:  # noqa: ARG002  (the Protocol's)
        """Begins a stage, and its peak anew."""
        self.look()
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
        cpu_s = -time.process_time()  # completed at the end
        self.marks.append(StageMark(stage=stage, began_s=self._now(), cpu_s=cpu_s))

    def advance(self, num_done: int) -> None:
        """Counts records of the current stage as done; the first begin its peak anew."""
        if not self.marks[-1].num_records:
            # What the stage before had is still going back to the system when a stage begins.
            self.look()
            _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
        self.marks[-1].num_records += num_done

    def finish(self) -> None:
        """Ends the current stage."""
        self.marks[-1].ended_s = self._now()
        self.marks[-1].cpu_s += time.process_time()
        self.marks[-1].peak_mb = self.look()

    def look(self) -> float:
        """Returns the peak since it was last set back; the greatest of all is kept."""
        peak_mb = peak_memory_mb()
        self.peak_mb = max(self.peak_mb, peak_mb)
        return peak_mb

    def _now(self) -> float:
        return time.perf_counter() - self.began


def peak_memory_mb() -> float:
    """Returns the high-water mark of this process's resident memory."""
    return peak_rss_bytes() / 1e6


def run(config: Path, run_dir: Path) -> Outcome:
    """Returns what the curation of a config took."""
    marks = StageMarks()
    cpu_before_s = time.process_time()
    summary = curate(
        load_config(config),
        run_dir=run_dir,
        resume=Resume.NEVER,
        connector=NetworkConnector(),
        api_key=None,
        progress=marks,
    )
    total_s = time.perf_counter() - marks.began
    marks.look()
    return Outcome(
        stages=marks.marks,
        total_s=total_s,
        cpu_s=time.process_time() - cpu_before_s,
        peak_mb=marks.peak_mb,
        num_input=summary.num_input,
        num_kept=summary.num_kept,
        num_quarantined=summary.num_quarantined,
    )


def main() -> None:
    """Runs and prints."""
    config, run_dir = (Path(argument) for argument in sys.argv[1:])
    print(json.dumps(asdict(run(config, run_dir))))


def outcome_of(text: str) -> Outcome:
    """Returns the outcome that a process printed last."""
    values = json.loads(text.splitlines()[-1])
    return Outcome(**values | {"stages": [StageMark(**mark) for mark in values["stages"]]})


if __name__ == "__main__":
    main()
