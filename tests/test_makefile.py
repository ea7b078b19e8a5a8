"""What `make` would run, asked with `make -n`: on a machine with a GPU, and on one without."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def commands(target: str, *, folder: Path, **variables: str) -> str:
    """Returns what `make target` would run where `folder` comes first on the PATH."""
    # What a make around these tests tells its children would be printed too.
    others = ("PIP_FIND_LINKS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    environ = {name: value for name, value in os.environ.items() if name not in others}
    environ |= {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ("make", "-n", "-B", target),
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def write_smi(folder: Path, *, status: int) -> Path:
    """Writes an `nvidia-smi` that ends so: 9 is its own word for a driver that is not there."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return folder


@pytest.mark.parametrize("links", [{}, {"PIP_FIND_LINKS": "/wheels"}], ids=["index", "folder"])
def test_a_machine_with_a_gpu_installs_its_lock_without_the_cpu_build_of_torch(
    tmp_path: Path, links: dict[str, str]
):
    run = commands("install", folder=write_smi(tmp_path, status=0), **links)
    assert "-r requirements/gpu.lock" in run
    assert "cpu" not in run
    assert "--find-links" not in run


@pytest.mark.parametrize(
    ("links", "source"),
    [
        pytest.param({}, "--extra-index-url https://download.pytorch.org/whl/cpu", id="index"),
        pytest.param({"PIP_FIND_LINKS": "/wheels"}, "--find-links /wheels", id="folder"),
    ],
)
def test_a_machine_without_a_gpu_installs_the_cpu_lock(
    tmp_path: Path, links: dict[str, str], source: str
):
    run = commands("install", folder=write_smi(tmp_path, status=9), **links)
    assert f"{source}" in run
    assert "-r requirements/cpu.lock" in run


def test_the_second_environment_has_the_cpu_build_on_every_machine(tmp_path: Path):
    run = commands("venv-vllm-vision", folder=write_smi(tmp_path, status=0))
    (line,) = [line for line in run.splitlines() if "vllm-vision.lock" in line]
    assert "https://download.pytorch.org/whl/cpu" in line


def test_clean_leaves_runs_alone(tmp_path: Path):
    removed = commands("clean", folder=tmp_path).split()
    assert ".venv" in removed
    assert "runs" not in removed
    assert commands("clean-runs", folder=tmp_path).split() == ["rm", "-rf", "runs"]


def test_the_gpu_lock_holds_one_cuda_python():
    pins = (ROOT / "requirements" / "gpu.lock").read_text().splitlines()
    majors = {
        line.partition("==")[2].partition(".")[0]
        for line in pins
        if line.startswith(("cuda-python==", "cuda-bindings=="))
    }
    assert majors == {"13"}
