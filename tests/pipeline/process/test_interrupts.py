import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.errors import TerminatedError
from align2llava.pipeline.process.interrupts import run_async, sigterm_raises
from tests.pipeline.curation.small_world import records, run, write_world

ROOT = Path(__file__).resolve().parents[3]


def test_sigterm_in_plain_code_is_an_error_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TerminatedError), sigterm_raises():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_in_async_code_lets_it_clean_up():
    before = signal.getsignal(signal.SIGTERM)
    cleaned: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    with pytest.raises(TerminatedError):
        run_async(work())
    assert cleaned == ["up"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_in_async_code_lets_it_clean_up():
    cleaned: list[str] = []
    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    try:
        with pytest.raises(KeyboardInterrupt):
            run_async(work())
    finally:
        signal.signal(signal.SIGINT, before)
    assert cleaned == ["up"]


def test_result_and_error_come_through():
    async def works() -> int:
        return 3

    async def fails() -> int:
        raise ValueError("x")

    assert run_async(works()) == 3
    with pytest.raises(ValueError, match="x"):
        run_async(fails())


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_interrupted_run_stores_every_answer_and_resumes(
    tmp_path: Path, sent: signal.Signals, code: int
):
    config = write_world(tmp_path, records(300))
    run_dir, log = tmp_path / "broken", tmp_path / "broken.log"
    script = Path(__file__).with_name("interrupted_driver.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(config), str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    while not log.exists() or len(log.read_text().splitlines()) < 40:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    assert process.wait() == code
    stored = pq.read_table(run_dir / "scores" / "question").num_rows
    # A call that was under way may have been cut off after the fake had noted it.
    assert stored >= 40 - 8
    assert not (run_dir / "manifest.json").exists()
    done = subprocess.run(
        [sys.executable, str(script), str(config), str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    run(config, tmp_path / "whole")
    whole = (tmp_path / "whole" / "dataset" / "train.json").read_bytes()
    assert (run_dir / "dataset" / "train.json").read_bytes() == whole
