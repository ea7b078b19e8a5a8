"""Curations of the driver's benchmark: a stub and a driver, each in its own process, and what they took."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.driver_run import Outcome, outcome_of
from benchmarks.driver_world import World, config_text
from benchmarks.measuring import Cell
from benchmarks.stub_process import running_stub
from benchmarks.stub_service import Holds, Stats

Transport = Literal["grpc", "rest"]
STREAMING_STAGES = frozenset({"input", "question", "answer"})
SELECTING = "select"
_SCRIPT = Path(__file__).with_name("driver_run.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How the services are asked, and for what: the answer stage is optional."""

    transport: Transport
    holds: Holds
    answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One curation, and what the stub was asked by it."""

    outcome: Outcome
    asked: Stats

    @property
    def records_per_s(self) -> float:
        """From the opening of the input to the last stored part of the question stage."""
        return self.outcome.num_input / self.outcome.of("question")[-1].ended_s

    @property
    def stage_records_per_s(self) -> float:
        """The question stage alone, after the input was read once."""
        stage = self.outcome.of("question")[-1]
        return stage.num_records / stage.seconds

    @property
    def streaming_peak_mb(self) -> float:
        """The highest peak of memory of the stages that stream."""
        return max(mark.peak_mb for mark in self.outcome.stages if mark.stage in STREAMING_STAGES)

    @property
    def selection_s(self) -> float:
        """What was spent in deciding."""
        return sum(mark.seconds for mark in self.outcome.of(SELECTING))

    def _us_a_record(self, stage: str) -> float:
        mark = self.outcome.of(stage)[-1]
        return 1e6 * mark.cpu_s / mark.num_records

    def row(self) -> dict[str, Cell]:
        """Returns what is shown of it; messages are those of all stages, microseconds of CPU time."""
        outcome, asked = self.outcome, self.asked
        asking_s = sum(mark.seconds for name in ("question", "answer") for mark in outcome.of(name))
        return {
            "records": outcome.num_input,
            "records_per_s": self.records_per_s,
            "question_stage_per_s": self.stage_records_per_s,
            "whole_per_s": outcome.num_input / outcome.total_s,
            "seconds": outcome.total_s,
            "driver_us_a_record": 1e6 * outcome.cpu_s / outcome.num_input,
            "input_us_a_record": self._us_a_record("input"),
            "question_us_a_record": self._us_a_record("question"),
            "stub_us_an_item": 1e6 * asked.cpu_s / asked.num_items,
            "messages_per_s": asked.num_messages / asking_s,
            "groups_a_message": asked.num_groups / asked.num_messages,
            "items_a_message": asked.num_items / asked.num_messages,
            "images_sent": asked.num_images_sent,
            "images_needed": asked.num_images_needed,
            "streaming_peak_mb": self.streaming_peak_mb,
            "peak_mb": outcome.peak_mb,
        }


def curated(world: World, run_dir: Path, asking: Asking) -> Run:
    """Curates a world into a new run directory and returns what that took.

    Raises:
        RuntimeError: the driver failed, or quarantined a record.
    """
    config = run_dir.with_suffix(".yaml")
    with running_stub(asking.holds) as stub:
        text = config_text(
            world,
            question_url=stub.url("question-reward", asking.transport),
            answer_url=stub.url("answer-reward", asking.transport),
            answer=asking.answer,
        )
        config.write_text(text, encoding="utf-8")
        before = stub.stats()
        process = subprocess.run(
            [sys.executable, str(_SCRIPT), str(config), str(run_dir)],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if process.returncode:
            raise RuntimeError(f"the driver ended with {process.returncode}")
        run = Run(outcome=outcome_of(process.stdout), asked=stub.stats().since(before))
    if run.outcome.num_quarantined:
        raise RuntimeError(f"{run.outcome.num_quarantined} records were quarantined")
    return run


def remove_run(run_dir: Path) -> None:
    """Removes a run directory and its config."""
    shutil.rmtree(run_dir)
    run_dir.with_suffix(".yaml").unlink()
