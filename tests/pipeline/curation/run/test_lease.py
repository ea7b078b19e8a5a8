import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.run import lease
from align2llava.pipeline.curation.run.lease import Lease, held, read_lease, this_host
from align2llava.pipeline.errors import RunError, StoreError

HOLD = """
import sys, time
from pathlib import Path
from align2llava.pipeline.curation.layout import RunPaths
from align2llava.pipeline.curation.run.lease import held
with held(RunPaths(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def left_by(paths: RunPaths, *, host: str, pid: int) -> None:
    paths.root.mkdir(parents=True, exist_ok=True)
    paths.lease.write_bytes(orjson.dumps(Lease("0" * 32, host, pid, "", 7)._asdict()))


def test_run_directory_is_held_by_one_and_given_back(tmp_path: Path):
    paths = RunPaths(tmp_path / "run")
    with held(paths):
        with pytest.raises(RunError, match=rf"in use .*pid {os.getpid()}"), held(paths):
            pass
        assert read_lease(paths.lease) is not None
    assert list(paths.root.iterdir()) == []
    with held(paths):
        pass


def test_killed_holder_is_followed_at_once(tmp_path: Path):
    paths = RunPaths(tmp_path / "run")
    words = [sys.executable, "-c", HOLD, str(paths.root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)  # asleep is not gone
        with pytest.raises(RunError, match=f"pid {holder.pid}"), held(paths):
            pass
        holder.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, and not collected
        with held(paths):
            mine = read_lease(paths.lease)
            assert mine is not None
            assert mine.pid == os.getpid()


def test_silent_holder_of_another_host_is_followed_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.5)
    paths = RunPaths(tmp_path / "run")
    left_by(paths, host="elsewhere", pid=1)
    with held(paths):
        pass
    assert list(paths.root.iterdir()) == []


@pytest.mark.parametrize("_round", range(40))
def test_of_many_who_want_a_lease_left_behind_one_gets_it(tmp_path: Path, _round: int):
    paths = RunPaths(tmp_path / "run")
    left_by(paths, host=this_host(), pid=2**22 + 1)  # no such process
    got: list[int] = []
    refused: list[int] = []
    all_tried = threading.Barrier(6)

    def want(number: int) -> None:
        try:
            with held(paths):
                got.append(number)
                all_tried.wait(timeout=9)
        except RunError:
            refused.append(number)
            all_tried.wait(timeout=9)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 5)
    assert list(paths.root.iterdir()) == []


def test_lease_is_taken_over_where_who_took_it_over_was_killed_at_it(tmp_path: Path):
    paths = RunPaths(tmp_path / "run")
    left_by(paths, host=this_host(), pid=2**22 + 1)
    paths.lease.with_name(f"{paths.lease.name}.next").write_bytes(paths.lease.read_bytes())
    with held(paths):
        assert [path.name for path in paths.root.iterdir()] == [paths.lease.name]


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write in"), held(RunPaths(tmp_path / "file")):
        pass
