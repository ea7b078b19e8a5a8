import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.input import row_workers
from align2llava.pipeline.curation.input.row_reader import Chunk
from align2llava.pipeline.curation.input.row_workers import row_readers
from align2llava.pipeline.curation.input.rows import RawElement
from align2llava.pipeline.curation.input.scan import Scan, scan_input
from align2llava.pipeline.errors import InputError, WorkerError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.input.test_row_reader import rules
from tests.pipeline.curation.small_world import record, records, write_world

HOLD = """
import sys, time
from align2llava.pipeline.curation.input import row_workers
from align2llava.pipeline.curation.input.row_reader import ReadingRules
from align2llava.pipeline.curation.input.row_workers import row_readers
row_workers.MIN_INPUT_BYTES = 0
row_workers._num_cores = lambda: 2
with row_readers(ReadingRules(sys.argv[1], [], 1, 1, 1), num_bytes=1):
    print("started", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=[2, 4])
def many_cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_workers, "MIN_INPUT_BYTES", 0)
    monkeypatch.setattr(row_workers, "_num_cores", lambda: request.param)
    monkeypatch.setattr("align2llava.pipeline.curation.input.corpus.CHUNK_RECORDS", 7)


def dirty(num_records: int) -> list[object]:
    data: list[object] = list(records(num_records))
    data[3] = {"id": "bad"}
    data[5] = ["no object"]
    data[8] = {**record(8), "image": "../outside.png"}
    data[11] = {**record(11), "image": "nowhere.png"}
    data[12] = {"conversations": record(12)["conversations"]}
    return data


def slowly(chunk: Chunk) -> Iterator[Chunk]:
    for _ in range(500):  # until one has started, or failed to, the driver reads itself
        yield chunk
        time.sleep(0.01)


def workers_of(pid: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children()
    return [process for process in found if row_workers.__name__ in process.cmdline()]


def scanned(config: Path) -> Scan:
    return scan_input(load_config(config, environ={}), LineProgress())


@pytest.mark.usefixtures("many_cores")
@pytest.mark.parametrize("dialect", ["json", "jsonl"])
def test_rows_are_those_that_the_driver_itself_would_read(
    tmp_path: Path, dialect: str, monkeypatch: pytest.MonkeyPatch
):
    config = write_world(tmp_path, dirty(60), dialect=dialect)
    many = scanned(config)
    monkeypatch.setattr(row_workers, "MIN_INPUT_BYTES", 2**40)
    alone = scanned(config)
    assert many.table.lazy().collect().equals(alone.table.lazy().collect())
    assert many.inputs == alone.inputs
    assert many.table.lazy().collect()["code"].drop_nulls().len() == 4


@pytest.mark.slow  # tens of MB go through them
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("many_cores")
def test_few_bytes_are_with_the_workers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(row_workers, "MAX_BYTES_OUT", 1)
    element = RawElement(raw=b"{}", offset=0)
    num_taken = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal num_taken
        for chunk in slowly(Chunk(position=0, file=0, configured_type="auto", elements=[element])):
            num_taken += 1
            yield chunk

    with row_readers(rules(tmp_path), num_bytes=1) as read_rows:
        for num_read, _ in enumerate(read_rows(chunks()), start=1):
            assert num_taken <= num_read + 1


@pytest.mark.usefixtures("many_cores")
def test_syntax_error_ends_the_scan_and_its_workers(tmp_path: Path):
    config = write_world(tmp_path, records(60))
    raw = tmp_path / "raw.json"
    raw.write_bytes(raw.read_bytes().replace(b"},", b"};", 40))
    with pytest.raises(InputError, match="byte"):
        scanned(config)
    assert workers_of(os.getpid()) == []


@pytest.mark.usefixtures("many_cores")
def test_worker_that_dies_is_an_error_that_says_how(tmp_path: Path):
    element = RawElement(raw=b"{}", offset=0)
    chunk = Chunk(position=0, file=0, configured_type="auto", elements=[element])
    with row_readers(rules(tmp_path), num_bytes=1) as read_rows:
        for worker in workers_of(os.getpid()):
            worker.send_signal(signal.SIGKILL)
        with pytest.raises(WorkerError, match="signal 9"):
            list(read_rows(slowly(chunk)))


def test_small_input_starts_no_process(tmp_path: Path):
    with row_readers(rules(tmp_path), num_bytes=1000):
        assert workers_of(os.getpid()) == []


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_workers_end_with_a_driver_that_was_killed(tmp_path: Path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"started\n"
        workers = workers_of(driver.pid)
        assert len(workers) == 2
        driver.kill()
    until = time.monotonic() + 20
    while any(worker.is_running() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
