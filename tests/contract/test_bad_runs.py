"""`a2l curate` where the input, the disk or another driver is in its way: one line, an exit code, nothing spent twice."""

import json
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.contract.scripted_runs import (
    DRIVER,
    Finished,
    Stub,
    a2l,
    command,
    curated,
    environ,
    finished,
    records,
    started,
    stored_keys,
    stub,
    write_records,
)
from tests.contract.servers import ROOT
from tests.pipeline.curation.small_world import record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NUM_RECORDS = 300
HUGE_BYTES = 200 * 2**20
FILLER = "All of it is grey and nothing in it moves, as far as anyone can see. " * 50
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with stub(tmp_path_factory.mktemp("stub")) as running:
        yield running


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("world"), records(NUM_RECORDS))


@pytest.fixture(scope="module")
def whole_run(services: Stub, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    services.script()
    curated(config, run, services.sets("grpc"))
    return run


@pytest.fixture(scope="module")
def undisturbed(whole_run: Path) -> Finished:
    return finished(whole_run)


def disk_kb(run: Path) -> int:
    """Returns how many kB the files of a run take in pages of 4 kB."""
    sizes = [path.stat().st_size for path in run.rglob("*") if path.is_file()]
    return sum(size // 4096 * 4 + 4 for size in sizes)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the one line that a driver ends with; there is no traceback above it."""
    assert "Traceback" not in done.stderr
    line = done.stderr.rstrip().splitlines()[-1]
    assert line.startswith("a2l: ")
    return line


def write_huge(folder: Path, *, num_bytes: int, middle: str) -> tuple[Path, int]:
    """Writes text-only records of about 3 kB around 60 scored ones and, among these, `middle`.

    Returns the config, and the byte at which `middle` starts.
    """
    config = write_records(folder, [])
    filler = json.dumps({"id": 1, "conversations": record(1, answer=FILLER)["conversations"]})
    block = (filler + ",\n") * 256
    num_blocks = num_bytes // 2 // len(block)
    with (folder / "raw.json").open("w") as file:
        file.write("[\n" + block * 0)
        for _ in range(num_blocks):
            file.write(block)
        for number in range(30):
            file.write(json.dumps(record(number)) + ",\n")
        start = file.tell()
        file.write(middle + ",\n")
        for number in range(30, 60):
            file.write(json.dumps(record(number)) + ",\n")
        for _ in range(num_blocks):
            file.write(block)
        file.write(filler + "\n]\n")
    return config, start


def test_invalid_record_in_the_middle_of_a_huge_array_costs_itself(services: Stub, tmp_path: Path):
    middle = '{"id": "bad", "image": "1.png", "conversations": "none"}'
    config, _ = write_huge(tmp_path, num_bytes=HUGE_BYTES, middle=middle)
    services.script()
    summary = curated(config, tmp_path / "run", services.sets("grpc"))
    assert summary["num_quarantined"] == 1
    assert summary["num_kept"] > 0
    (line,) = (tmp_path / "run" / "quarantine").glob("part-*")
    quarantined = json.loads(line.read_text())
    assert quarantined["code"] == "invalid_record"
    assert quarantined["record"] == json.loads(middle)
    shutil.rmtree(tmp_path)


def test_syntax_error_in_the_middle_of_a_huge_array_says_its_byte_and_asks_nothing(
    services: Stub, tmp_path: Path
):
    config, start = write_huge(tmp_path, num_bytes=HUGE_BYTES, middle='{"id": }')
    services.script()
    done = a2l([*command(config, tmp_path / "run"), *services.sets("grpc")])
    assert done.returncode == 2
    assert f"raw.json: byte {start + len('{id: ') + 2}: " in last_line(done)
    assert not services.answered()
    assert not services.state()["num_requests"]
    assert not (tmp_path / "run").exists()
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("max_kb", [6, 24])
def test_write_over_the_limit_of_a_file_ends_the_run_which_resumes(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path, max_kb: int
):
    services.script()
    run = tmp_path / "run"
    words = [*command(config, run), *services.sets("grpc")]
    done = a2l(["sh", "-c", f"ulimit -f {2 * max_kb}; exec {shlex.join(words)}"])
    assert done.returncode == 1
    assert "cannot" in last_line(done)
    assert not (run / "manifest.json").exists()
    stored = stored_keys(run, config)
    services.script()
    curated(config, run, services.sets("grpc"), resume="if-possible")
    assert not stored & set(services.answered())
    assert finished(run) == undisturbed


def namespaced(script: str) -> subprocess.CompletedProcess[str]:
    """Returns a finished shell script with mounts of its own; skips where that is not allowed."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*NAMESPACE, "true"], check=False).returncode
    ):
        pytest.skip("no user and mount namespaces here: a small disk cannot be mounted")
    return subprocess.run(
        [*NAMESPACE, "sh", "-c", script],
        env=environ(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_full_disk_ends_the_run_which_resumes_once_there_is_room(
    services: Stub,
    config: Path,
    whole_run: Path,
    undisturbed: Finished,
    tmp_path: Path,
    share: float,
):
    services.script()
    disk, seen, run = tmp_path / "disk", tmp_path / "seen", tmp_path / "disk" / "run"
    disk.mkdir()
    sets = services.sets("grpc")
    first = shlex.join([*command(config, run), *sets])
    again = shlex.join([*command(config, run, resume="always"), *sets])
    script = f"""
        mount -t tmpfs -o size={int(share * disk_kb(whole_run))}k none {disk} || exit 70
        {first}; echo "rc $?" >&2
        cp -a {run} {seen}
        mount -o remount,size=200m none {disk} || exit 71
        wc -l < {services.log} > {tmp_path}/num_before
        {again}; echo "rc $?" >&2
        cp -a {run} {tmp_path}/run
    """
    done = namespaced(script)
    codes = [line for line in done.stderr.splitlines() if line.startswith("rc ")]
    assert codes == ["rc 1", "rc 0"], done.stderr[-3000:]
    before, _, _ = done.stderr.partition("rc 1")
    assert "Traceback" not in before
    assert before.rstrip().splitlines()[-1].endswith("No space left on device")
    assert not (seen / "manifest.json").exists()
    after = services.answered()[int((tmp_path / "num_before").read_text()) :]
    assert not stored_keys(seen, config) & set(after)
    assert finished(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("disk_kb", [4, 12, 24])
def test_full_scratch_disk_ends_the_run_with_one_line(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path, disk_kb: int
):
    services.script()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = shlex.join([*command(config, tmp_path / "run"), *services.sets("grpc")])
    done = namespaced(
        f"mount -t tmpfs -o size={disk_kb}k none {scratch} || exit 70\n"
        f"export XDG_CACHE_HOME={scratch}\nexec {words}",
    )
    assert done.returncode == 1, done.stderr
    assert str(scratch) in last_line(done)
    curated(config, tmp_path / "run", services.sets("grpc"), resume="if-possible")
    assert finished(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("fate", ["lost", "broken"])
def test_cache_outside_of_the_run_may_be_lost_or_broken_and_nothing_is_asked_again(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path, fate: str
):
    services.script()
    curated(config, tmp_path / "run", services.sets("grpc"))
    caches = [path for path in (services.folder / "scratch").rglob("*") if path.is_file()]
    assert caches
    for path in caches:
        if fate == "lost":
            path.unlink()
        else:
            path.write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    services.script()
    curated(config, tmp_path / "run", services.sets("grpc"), resume="always")
    assert not services.answered()
    assert finished(tmp_path / "run") == undisturbed


def test_read_only_run_directory_ends_the_run_before_anything_is_asked(
    services: Stub, config: Path, tmp_path: Path
):
    services.script()
    folder = tmp_path / "folder"
    folder.mkdir()
    words = shlex.join([*command(config, folder / "run"), *services.sets("grpc")])
    done = namespaced(
        f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} || exit 70\n"
        f"exec {words}",
    )
    assert done.returncode == 1, done.stderr
    assert f"cannot write in {folder / 'run'}: Read-only file system" in last_line(done)
    assert not services.answered()


def test_finished_run_made_read_only_is_not_resumed_and_stays_as_it_is(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path
):
    services.script()
    run = tmp_path / "run"
    curated(config, run, services.sets("grpc"))
    words = shlex.join([*command(config, run, resume="always"), *services.sets("grpc")])
    done = namespaced(
        f"mount --bind {run} {run} && mount -o remount,ro,bind {run} || exit 70\nexec {words}",
    )
    assert done.returncode == 1, done.stderr
    assert "Read-only file system" in last_line(done)
    assert finished(run) == undisturbed


def wait_for_answers(services: Stub, num_answers: int, process: subprocess.Popen[str]) -> None:
    while len(services.answered()) < num_answers:
        assert process.poll() is None
        time.sleep(0.01)


def test_second_driver_refuses_and_takes_over_once_the_first_was_killed(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path
):
    services.script(stalls_after=8)  # so that the first never ends
    run = tmp_path / "run"
    second = [*command(config, run, resume="always"), *services.sets("grpc")]
    first = started([*command(config, run), *services.sets("grpc")])
    try:
        wait_for_answers(services, 40, first)
        assert_refused(second, run)
        assert_refused([*DRIVER, "select", str(run)], run)
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
    stored = stored_keys(run, config)
    services.script()
    assert a2l(second).returncode == 0
    assert not stored & set(services.answered())
    assert finished(run) == undisturbed


def test_driver_that_only_sleeps_keeps_its_run(
    services: Stub, config: Path, undisturbed: Finished, tmp_path: Path
):
    services.script(delay_s=0.05)
    run = tmp_path / "run"
    first = started([*command(config, run), *services.sets("grpc")])
    try:
        wait_for_answers(services, 40, first)
        first.send_signal(signal.SIGSTOP)
        assert_refused([*command(config, run, resume="always"), *services.sets("grpc")], run)
        first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=60) == 0
    finally:
        first.kill()
        first.communicate()
    assert finished(run) == undisturbed
    assert len(services.answered()) == len(set(services.answered()))


def assert_refused(words: Sequence[str], run: Path) -> None:
    done = a2l(words)
    assert done.returncode == 2
    line = last_line(done)
    assert f"{run} is in use by" in line or f"{run} is not a finished run" in line


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("input.images_root=other", "input.images_root"),
        ("input.path=other.json", "input.path"),
        ("run.seed=12", "run.seed"),
    ],
)
def test_config_that_would_invalidate_stored_rewards_is_refused_by_name(
    services: Stub, config: Path, tmp_path: Path, change: str, named: str
):
    world = config.parent
    if not (world / "other").exists():
        # The same data elsewhere would be taken: see tests/pipeline/curation/run/test_moved.py.
        shutil.copytree(world / "images", world / "other")
        min((world / "other").iterdir()).unlink()
        (world / "other.json").write_bytes((world / "raw.json").read_bytes() + b"\n")
    services.script()
    curated(config, tmp_path / "run", services.sets("grpc"))
    kept = (tmp_path / "run" / "dataset" / "train.json").read_bytes()
    services.script()
    words = [*command(config, tmp_path / "run", resume="always"), *services.sets("grpc")]
    done = a2l([*words, "--set", change])
    assert done.returncode == 2
    assert f"was begun with another {named}" in last_line(done)
    assert not services.state()["num_requests"]
    assert (tmp_path / "run" / "dataset" / "train.json").read_bytes() == kept
    assert (tmp_path / "run" / "manifest.json").exists()


def test_record_put_in_front_of_all_others_is_the_only_one_asked_for(
    services: Stub, tmp_path: Path
):
    data = records(60)
    config = write_records(tmp_path / "world", data)
    sets = [*services.sets("grpc"), "--set", "selection.question_keep=1"]
    sets = [*sets, "--set", "selection.answer_keep=1"]
    services.script()
    curated(config, tmp_path / "run", sets)
    before = set(services.answered())
    write_records(tmp_path / "world", [record(999), *data])
    services.script()
    curated(config, tmp_path / "run", sets, resume="always")
    assert len(services.answered()) in range(3, 5)  # question, answer, rewrite, and its review
    assert not before & set(services.answered())
