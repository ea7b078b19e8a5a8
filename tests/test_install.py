"""The base install is the driver: it works without torch, bentoml, vllm and transformers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "bentoml", "vllm", "transformers", "numpy")
CLIENTS = "clients.api, clients.connect, clients.rest, clients.rpc"


def test_driver_and_clients_import_nothing_heavy():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY!r}))  # None: importing it raises
import {CLIENTS}, pipeline.cli
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fresh_environment_runs_the_command_line(tmp_path: Path):
    """What `pip install .` gives, from the lock of the base install."""
    python = tmp_path / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: str | Path, cwd: Path = ROOT) -> str:
        done = subprocess.run(
            command, cwd=cwd, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run(*uv, "venv", "--python", sys.executable, tmp_path / "venv")
    install = [*uv, "pip", "install", "--python", python]
    run(*install, "--require-hashes", "-r", "requirements/driver.lock")
    run(*install, "--no-deps", ".")
    run(python, "-c", f"import {CLIENTS}", cwd=tmp_path)
    assert "curate" in run(python.with_name("a2l"), "--help", cwd=tmp_path)
    installed = run(*uv, "pip", "list", "--python", python).split()
    assert not set(HEAVY) & set(installed)
