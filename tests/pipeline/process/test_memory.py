import subprocess
import sys

from align2llava.pipeline.process.memory import peak_rss_bytes

MIB = 2**20


def test_peak_is_this_process_own_and_stays():
    held = bytearray(b"x" * (300 * MIB))
    del held
    assert peak_rss_bytes() > 300 * MIB
    words = [
        sys.executable,
        "-c",
        "from align2llava.pipeline.process import memory as m; print(m.peak_rss_bytes())",
    ]
    of_child = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert 0 < of_child < 200 * MIB
