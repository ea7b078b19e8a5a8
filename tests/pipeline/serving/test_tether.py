"""Real processes: one that runs a module on a tether, whose other end is the test's."""

import os
import signal
import subprocess
from pathlib import Path

from align2llava.pipeline.process.children import module_command
from tests.contract.servers import ROOT

SLEEPER = """
import signal, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(__name__, sys.argv[1:], flush=True)
time.sleep(60)
"""


def tethered(folder: Path, *words: str) -> "subprocess.Popen[str]":
    (folder / "sleeper.py").write_text(SLEEPER)
    return subprocess.Popen(
        module_command("align2llava.pipeline.serving.tether", "sleeper", *words),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_module_runs_as_the_main_one_and_ends_when_the_tether_does(tmp_path: Path):
    with tethered(tmp_path, "one", "--two") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "__main__ ['one', '--two']\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=20) == -signal.SIGTERM


def test_module_that_does_not_end_when_asked_is_killed_soon(tmp_path: Path):
    with tethered(tmp_path, "deaf") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=20) == -signal.SIGKILL
