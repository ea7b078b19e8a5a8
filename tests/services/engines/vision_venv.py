"""Runs Python in the environment in which vLLM serves vision models on CPU, where it was built."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-vllm-vision" / "bin" / "python"

in_vision_venv = pytest.mark.skipif(
    not PYTHON.is_file(),
    reason="there is no .venv-vllm-vision; `make venv-vllm-vision` builds it",
)


def output_of(*arguments: str | Path, timeout_s: float) -> str:
    """Returns what Python prints there, run in the checkout's root with one thread."""
    done = subprocess.run(
        [PYTHON, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
