import os
import subprocess
import sys

import pytest

from align2llava.services.engines.torch_engine.allocation import SAME_BY_ENVIRONMENT

FAULTS = """
import resource, sys
from align2llava.services.engines.torch_engine.allocation import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [bytearray(4 << 20) for _ in range(16)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "tell":
    keep_freed_memory()
print([faults() for _ in range(4)][-1])
"""


def faults(told: str, environ: dict[str, str]) -> int:
    """How many pages 16 blocks of 4 MiB ask the system for when as many were freed before."""
    command = [sys.executable, "-c", FAULTS, told]
    done = subprocess.run(
        command, env=os.environ | environ, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(
    "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="only glibc is told"
)
def test_what_was_freed_is_not_asked_of_the_system_again():
    assert faults("no", {}) > 1000
    assert faults("tell", {}) < 10
    assert faults("no", SAME_BY_ENVIRONMENT) < 10
