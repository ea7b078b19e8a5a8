"""inner-llm on vLLM, whose core has processes of its own: kill -9 of any leaves none of the others behind."""

import time
from pathlib import Path

import psutil
import pytest

from tests.contract.servers import ROOT, server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = {"worker": "worker.service", "core": "VLLM::EngineCore", "vLLM worker": "VLLM::Worker"}


def named(processes: list[psutil.Process], name: str) -> psutil.Process:
    (found,) = (p for p in processes if WORDS[name] in " ".join(p.cmdline()))
    return found


@pytest.mark.parametrize("killed", ["worker", "core"])
def test_killed_process_takes_the_others_of_its_worker_with_it(tmp_path: Path, killed: str):
    settings = {
        "A2L_ENGINE": "vllm",
        "A2L_MODEL_DIR": str(ROOT / "examples" / "blocks" / "models" / "inner-llm"),
    }
    with server("inner-llm", tmp_path, settings=settings, timeout_s=400) as running:
        supervisor = psutil.Process(running.process.pid)
        processes = supervisor.children(recursive=True)
        assert all(named(processes, name) for name in WORDS)
        named(processes, killed).kill()
        left, end = processes, time.monotonic() + 30
        while left:
            assert time.monotonic() < end, f"left: {[' '.join(p.cmdline())[:80] for p in left]}"
            time.sleep(0.05)
            left = [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert supervisor.is_running()  # it starts another worker
