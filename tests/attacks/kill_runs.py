"""Runs of `a2l curate` while its services are killed: how far they are, how they end, what they leave."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.lib
import pyarrow.parquet as pq

from tests.attacks.killable_serve import Engine, wait_until
from tests.contract.servers import ROOT
from tests.pipeline.curation.small_world import record, write_images

# The stage of each service, in the order of a run: where its answers are stored.
STAGES = {
    "question-reward": "scores/question",
    "answer-reward": "scores/answer",
    "inner-llm": "rewrites",
}
PATIENT_S: dict[Engine, float] = {"fake": 120.0, "real": 400.0}
IMPATIENT_S: dict[Engine, float] = {"fake": 3.0, "real": 20.0}  # ends with exit 4, and is resumed
_RUN_S: dict[Engine, float] = {"fake": 240.0, "real": 600.0}
_MAX_RESUMES = 5
_ENDPOINT = 4  # the exit code where a service does not answer any more
_FAKE_RECORDS = 160
_FAKE_QUESTION = "[[slow 12]] What is"  # ms that the fake engine takes for each row
_REAL_RECORDS = 120
_CONFIG = """
input: {path: raw.json, images_root: images}
endpoints:
  question_reward: {url: "grpc://nowhere:1", batch_items: 4, max_in_flight: 2}
  answer_reward: {url: "grpc://nowhere:2", batch_items: 4, max_in_flight: 2}
  inner_llm: {url: "grpc://nowhere:3", batch_items: 1, max_in_flight: 1}
selection: {question_keep: 0.5, answer_keep: 0.6}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An input, and the services that it is curated with."""

    folder: Path
    config: Path
    urls: Mapping[str, str]
    engine: Engine


def write_world(folder: Path, *, urls: Mapping[str, str], engine: Engine) -> World:
    """Writes an input that keeps the services busy for some seconds."""
    folder.mkdir()
    if engine == "real":
        config = ROOT / "examples" / "blocks" / "curate.yaml"
    else:
        write_images(folder / "images")
        numbers = range(_FAKE_RECORDS)
        data = [record(n, turns=1 + n % 3, question=_FAKE_QUESTION) for n in numbers]
        (folder / "raw.json").write_text(json.dumps(data))
        config = folder / "curate.yaml"
        config.write_text(_CONFIG)
    return World(folder=folder, config=config, urls=urls, engine=engine)


class Run:
    """One run, and the driver that is at it."""

    def __init__(self, world: World, name: str, *, timeout_s: float) -> None:
        self.folder = world.folder / name
        self.num_resumes = 0
        self._world = world
        self._timeout_s = timeout_s
        self._errors = world.folder / f"{name}.stderr"
        self._process = self._started("never")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def num_stored(self) -> dict[str, int]:
        """Returns how many answers are on disk, by stage."""
        return {stage: _num_rows(self.folder / stage) for stage in STAGES.values()}

    def await_stored(self, num_rows: int) -> bool:
        """Returns whether so many answers are on disk and the driver goes on."""
        wait_until(
            lambda: not self.is_running or sum(self.num_stored().values()) >= num_rows,
            timeout_s=_RUN_S[self._world.engine],
            poll_s=0.02,
        )
        return self.is_running

    def finish(self) -> str:
        """Has the driver come to its end, resumed where a service did not answer; returns what went wrong."""
        while True:
            try:
                status = self._process.wait(timeout=_RUN_S[self._world.engine])
            except subprocess.TimeoutExpired:
                return "the run does not end"
            if status == 0:
                return ""
            if status != _ENDPOINT or self.num_resumes == _MAX_RESUMES:
                return f"the run ended with {status}: {self._errors.read_text()[-300:]}"
            self.num_resumes += 1
            self._process = self._started("always")

    def num_tracebacks(self) -> int:
        return self._errors.read_text().count("Traceback (most recent call last)")

    def dataset(self) -> dict[str, bytes]:
        """Returns the published files."""
        folder = self.folder / "dataset"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    def stop(self) -> None:
        """Kills the driver, where it has not ended."""
        if self.is_running:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def _started(self, resume: str) -> "subprocess.Popen[bytes]":
        world = self._world
        sets = ["run.commit_seconds=0.05"]
        if world.engine == "real":
            sets.append(f"run.limit={_REAL_RECORDS}")
        for service, url in world.urls.items():
            section = f"endpoints.{service.replace('-', '_')}"
            sets += [f"{section}.url={url}", f"{section}.timeout_s={self._timeout_s:g}"]
        words = ["curate", str(world.config), "--run-dir", str(self.folder), "--resume", resume]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}
        tmp = world.folder / "tmp"
        tmp.mkdir(exist_ok=True)
        with self._errors.open("ab") as errors:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("a2l")), *words, "--json"]
                + [word for one in sets for word in ("--set", one)],
                cwd=ROOT,
                env={**clean, "TMPDIR": str(tmp), "XDG_CACHE_HOME": str(world.folder / "cache")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )


def _num_rows(folder: Path) -> int:
    """Returns the rows of all parts; one that is replaced just now counts at the next look."""
    num_rows = 0
    for path in folder.glob("part-*.parquet"):
        try:
            num_rows += int(pq.read_metadata(path).num_rows)
        except (FileNotFoundError, pyarrow.lib.ArrowInvalid):
            continue
    return num_rows
