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

import pyarrow.parquet as pq
import pytest

from tests.contract.scripted_faults import Kind
from tests.contract.scripted_runs import (
    DRIVER,
    Stub,
    a2l,
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
FAULTS = [Kind.RESET, Kind.HALF, Kind.NAN, Kind.WRONG_COUNT, Kind.ERROR_BODY, Kind.OVERLOADED]
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


@pytest.mark.parametrize(
    ("transport", "kinds"), [("grpc", []), ("rest", FAULTS)], ids=["grpc", "rest-that-fails-too"]
)
def test_run_killed_at_twenty_points_ends_as_the_undisturbed_one(
    services: Stub, tmp_path: Path, transport: str, kinds: list[Kind]
):
    config = write_records(tmp_path / "world", records(NUM_RECORDS))
    whole, run = tmp_path / "whole", tmp_path / "run"
    sets = [*services.sets(transport), "--set", "run.commit_seconds=0.01"]
    sets += ["--set", "endpoints.inner_llm.max_in_flight=4"]
    services.script()
    curated(config, whole, sets)
    num_answers = len(services.answered())
    rng = random.Random(SEED)
    stored: set[str] = set()
    num_killed: Counter[str] = Counter()
    for at, point in enumerate(points(rng)):
        services.script(kinds=kinds, share=0.1, seed=at)
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


def test_answers_are_on_disk_in_time_even_where_no_more_come(services: Stub, tmp_path: Path):
    config = write_records(tmp_path / "world", records(100))
    services.script(stalls_after=3)
    words = [*command(config, tmp_path / "run"), *services.sets("grpc")]
    process = started([*words, "--set", "run.commit_seconds=0.2"])
    stored: set[str] = set()
    end = time.monotonic() + 20
    try:
        while time.monotonic() < end and (not stored or stored != set(services.answered())):
            time.sleep(0.05)
            stored = stored_keys(tmp_path / "run", config)
    finally:
        process.kill()
        process.communicate()
    assert stored == set(services.answered())
    assert stored


def test_select_killed_while_it_publishes_asks_nothing_and_is_done_again(
    services: Stub, tmp_path: Path
):
    config = write_records(tmp_path / "world", records(200))
    run, plain = tmp_path / "run", tmp_path / "plain"
    sets = services.sets("grpc")
    services.script()
    curated(config, run, sets)
    selecting = [*DRIVER, "select", str(run), "--answer-keep", "0.3"]
    services.script()
    rng = random.Random(SEED)
    num_killed = 0
    for _ in range(4):
        process = started(selecting)
        while process.poll() is None and (run / "manifest.json").exists():
            time.sleep(POLL_S)
        strike(Point(seconds=rng.uniform(0, 0.05)), process, run)
        num_killed += killed(process)
        if not (run / "manifest.json").exists():
            assert a2l(selecting).returncode == 2  # a run that is not finished
            curated(config, run, sets, resume="always")
    assert num_killed >= 2
    assert a2l(selecting).returncode == 0
    assert not services.answered()
    curated(config, plain, [*sets, "--set", "selection.answer_keep=0.3"])
    assert decided(run) == decided(plain)


def decided(run: Path) -> tuple[bytes, list[dict[str, object]]]:
    dataset = (run / "dataset" / "train.json").read_bytes()
    return dataset, pq.read_table(run / "decisions.parquet").to_pylist()
