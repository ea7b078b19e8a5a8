"""A soak in small: a service under load, with attacks in between, holds what it held, and leaves nothing."""

import asyncio
from pathlib import Path

import pytest

from tests.attacks.soak import NUM_WINDOWS, left_files, soak
from tests.attacks.world import MIB, is_running, services

ATTACKS = ["1 MiB: nils", "gRPC: groups", "broken EXIF", "100 half bodies"]
MAX_GROWTH = 64 * MIB


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_load_and_attacks_leave_a_service_as_it_was(tmp_path: Path):
    with services(tmp_path, kinds=["question-reward"], engine="fake") as running:
        before = set(tmp_path.rglob("*"))
        (soaked,) = asyncio.run(soak(running, ATTACKS, seconds=30, minute_s=7))
    held = [sum(one.num_bytes.values()) for one in soaked.samples]
    assert max(held) - held[0] < MAX_GROWTH
    assert len(soaked.windows) == NUM_WINDOWS
    for window in soaked.windows:
        assert window.num_equal == len(window.seconds) > 0
        assert not window.others["differs"]
    assert soaked.told["413"]
    assert soaked.told["OUT_OF_RANGE"]
    assert not [code for code in soaked.told if code.startswith("5") or code == "INTERNAL"]
    assert running[0].num_faults_logged() == 0
    assert not [pid for pid in soaked.pids if is_running(pid)]
    assert left_files(tmp_path, before) == []
