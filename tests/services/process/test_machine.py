from pathlib import Path

import pytest

from align2llava.services.process.machine import (
    CudaDriver,
    compiler_fault,
    gpu_fault,
    library_fault,
    refuse_machine,
)
from align2llava.services.settings import load_settings

NEW = CudaDriver(version=(13, 0), num_devices=2)
OLD = CudaDriver(version=(12, 4), num_devices=1)


@pytest.mark.parametrize(
    ("device", "torch_cuda", "driver", "fault"),
    [
        pytest.param("cuda", "13.2", NEW, None, id="a driver of the same major version"),
        pytest.param("cuda:1", "12.6", NEW, None, id="a newer driver"),
        pytest.param("cuda", None, NEW, "is a CPU build", id="a CPU build of torch"),
        pytest.param("cuda", "13.0", None, "no NVIDIA driver here", id="no driver"),
        pytest.param("cuda", "13.0", OLD, "supports only CUDA 12.4", id="an old driver"),
        pytest.param("cuda:2", "13.0", NEW, "'cuda:2', but 2 GPUs", id="no such GPU"),
    ],
)
def test_gpu_that_cannot_be_used_is_told_with_its_reason(
    device: str, torch_cuda: str | None, driver: CudaDriver | None, fault: str | None
):
    told = gpu_fault(device, torch_cuda=torch_cuda, driver=driver)
    assert told is None if fault is None else fault in str(told)


def test_missing_library_is_told_with_what_installs_it():
    assert library_fault("libc.so.6") is None
    told = library_fault("libnowhere.so.1")
    assert told is not None
    assert "libnowhere.so.1" in told
    assert "apt-get install libnuma1" in told


def test_missing_compiler_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "gcc or clang" in str(compiler_fault(""))
    assert "/nowhere/cc" in str(compiler_fault("/nowhere/cc"))
    (tmp_path / "clang").write_text("#!/bin/sh\n")
    (tmp_path / "clang").chmod(0o755)
    assert compiler_fault("") is None


def test_fake_engine_needs_nothing_of_the_machine():
    refuse_machine(load_settings("inner-llm", {"A2L_ENGINE": "fake", "A2L_DEVICE": "cuda"}))


def test_engine_on_the_cpu_is_welcome_where_its_packages_are_installed(tmp_path: Path):
    refuse_machine(load_settings("question-reward", {"A2L_MODEL_DIR": str(tmp_path)}))
