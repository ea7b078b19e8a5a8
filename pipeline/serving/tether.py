"""Runs a module as `python -m` does, and ends it when whoever started it has ended.

That one holds the other end of our standard input. However it ends, kill -9 too, there is then an end of file.
It waits for us before it ends by itself, so this is the way of one that was killed.
"""

import os
import runpy
import signal
import sys
import threading
import time

_GRACE_S = 4.0  # for what was accepted, after SIGTERM; a worker's keeper gives it as long again


def main() -> None:
    """Runs the module that the command line names, with the rest of its words."""
    threading.Thread(target=_end_in_time, name="tether", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_in_time() -> None:
    os.read(sys.stdin.fileno(), 1)  # no lock of a buffer, which would hold up the interpreter's end
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
