"""`kill -9` of `a2l curate` at twenty points of all its stages, resumed after each: nothing shows.

The points are drawn from a seed: soon after the start, after so many answers, with a part half
written, and while the results are published.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.scripted_runs import (
    Stub,
    command,
    curated,
    finished,
    killed,
    records,
    started,
    stored_keys,
    stub,
    write_records,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NUM_RECORDS = 700
SEED = 5
POLL_S = 0.0005
STAGES = ("scores/question", "scores/answer", "rewrites", "decisions.parquet")
PUBLISHING = ("decisions.parquet", "quarantine/part-*", "dataset/*", "report")


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a driver is killed: after a share of all answers, or `seconds` after a path is there."""

    share: float | None = None
    path: str | None = None
    seconds: float = 0.0


def points(rng: random.Random) -> list[Point]:
    """Returns twenty points: two early ones, twelve shares of the work, two in commits, four at the end."""
    shares = [Point(share=(at + rng.random()) / 12.5) for at in range(12)]
    commits = [
        Point(path=f"scores/{stage}/.*", seconds=rng.uniform(0, 0.004))
        for stage in ("question", "answer")
    ]
    early = [Point(seconds=rng.uniform(0.1, 1.2)) for _ in range(2)]
    ends = [Point(path=path, seconds=rng.uniform(0, 0.05)) for path in PUBLISHING]
    return [*early, *commits[:1], *shares[:6], *commits[1:], *shares[6:], *ends]


def strike(point: Point, process: subprocess.Popen[str], run: Path) -> None:
    """Waits for a point that is seen from outside, and kills; the services see to shares."""
    if point.share is not None:
        return
    while point.path and process.poll() is None and not any(run.glob(point.path)):
        time.sleep(POLL_S)
    end = time.monotonic() + point.seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(POLL_S)
    process.kill()


def reached(run: Path) -> str:
    """Returns the last stage of which something is on disk."""
    paths = {stage: run / stage for stage in STAGES}
    there = [stage for stage, path in paths.items() if path.is_file() or any(path.glob("part-*"))]
    return there[-1] if there else "input"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with stub(tmp_path_factory.mktemp("stub")) as running:
        yield running


def test_run_killed_at_twenty_points_ends_as_the_undisturbed_one(services: Stub, tmp_path: Path):
    config = write_records(tmp_path / "world", records(NUM_RECORDS))
    whole, run = tmp_path / "whole", tmp_path / "run"
    sets = [*services.sets("grpc"), "--set", "run.commit_seconds=0.05"]
    services.script()
    curated(config, whole, sets)
    num_answers = len(services.answered())
    rng = random.Random(SEED)
    stored: set[str] = set()
    num_killed: Counter[str] = Counter()
    for point in points(rng):
        services.script()
        is_begun = (run / "config.resolved.yaml").exists()
        words = command(config, run, resume="always" if is_begun else "if-possible")
        process = started([*words, *sets])
        if point.share is not None:
            left = max(1, int(point.share * num_answers) - len(stored))
            is_sent_first = rng.random() < 0.5
            services.tell(
                do="kill", pid=process.pid, kind="", after=left, is_sent_first=is_sent_first
            )
        strike(point, process, run)
        num_killed[reached(run)] += killed(process)
        assert not stored & set(services.answered()), point
        now = stored_keys(run, config)
        assert now >= stored, point
        stored = now
    assert num_killed.total() >= 18, num_killed  # a point that a fast machine is past is none
    assert all(num_killed[stage] for stage in STAGES), num_killed
    services.script()
    curated(config, run, sets, resume="always")
    assert not stored & set(services.answered())
    assert finished(run) == finished(whole)
    services.script()
    curated(config, run, sets, resume="always")
    assert not services.answered()
    assert finished(run) == finished(whole)
