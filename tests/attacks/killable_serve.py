"""`a2l serve` in a process of its own, for attacks that kill: its processes by role, and which of them are orphans.

What it and its processes make lies in a TMPDIR of its own; by that name in their environment those are found whom
no tree leads to any more.
"""

import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import httpx
import psutil

from align2llava.pipeline.serving.service_process import TARGETS
from tests.attacks.checkout import HERE, Checkout
from tests.contract.servers import ROOT

Engine = Literal["fake", "real"]

ROOT_ROLE = "a2l serve"
ORPHAN_S = 10.0  # after which nobody may be left
READY_S: dict[Engine, float] = {"fake": 120.0, "real": 400.0}
_END_S = 150.0  # for what was accepted
_POLL_S = 0.05
_MODELS = ROOT / "examples" / "blocks" / "models"
_PARTS = {
    "keeper.py": "keeper",
    "worker.service": "worker",
    "VLLM::EngineCore": "core",
    "VLLM::Worker": "vLLM worker",
    "resource_tracker": "resource tracker",
    "circusd": "supervisor",
    "pipeline.tether": "supervisor",
}


class KillableServe:
    """The three services on six ports that stay the same, started as often as is needed."""

    def __init__(self, folder: Path, *, tmp: Path, engine: Engine, tree: Checkout = HERE) -> None:
        self.engine: Engine = engine
        self._tree = tree
        self.log = folder / "serve.log"
        self._tmp = tmp
        self._http_port, self._grpc_port = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    @property
    def grpc_urls(self) -> dict[str, str]:
        return {
            name: f"grpc://127.0.0.1:{self._grpc_port + place}"
            for place, name in enumerate(TARGETS)
        }

    @property
    def command(self) -> list[str]:
        """The words that start it."""
        ports = [f"--http-port={self._http_port}", f"--grpc-port={self._grpc_port}"]
        return [*self._tree.a2l, "serve", "--models", str(_MODELS), *ports]

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def start(self) -> float:
        """Returns how long it took until all answered.

        Raises:
            TimeoutError: they did not, or it ended.
        """
        assert self.has_ended
        began = time.monotonic()
        engine = {"A2L_ENGINE": "fake"} if self.engine == "fake" else {}
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._tree.folder,
                env={**clean, **engine, "TMPDIR": str(self._tmp)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.await_ready()
        return time.monotonic() - began

    def await_ready(self) -> None:
        """Raises TimeoutError where the services do not answer in time, or `a2l serve` has ended."""
        ports = [self._http_port + place for place in range(len(TARGETS))]

        def is_over() -> bool:
            return self.has_ended or all(map(_is_ready, ports))

        if not wait_until(is_over, timeout_s=READY_S[self.engine]) or self.has_ended:
            raise TimeoutError(f"the services do not answer: {self.log.read_text()[-1000:]}")

    def await_end(self) -> int | None:
        """Returns its exit code; None where it does not end."""
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=_END_S)
        return None

    def processes(self) -> list[psutil.Process]:
        """Returns the tree of the running `a2l serve`, itself first."""
        if self._process is None or self.has_ended:
            return []
        root = psutil.Process(self._process.pid)
        tree = [root, *root.children(recursive=True)]
        self._seen |= {process.pid: process for process in tree}
        return tree

    def roles(self) -> dict[str, list[psutil.Process]]:
        """Returns the processes by what they are, of which service."""
        tree = self.processes()
        found: dict[str, list[psutil.Process]] = defaultdict(list)
        for process in tree:
            found[ROOT_ROLE if process == tree[0] else _role(process)].append(process)
        return dict(found)

    def strangers(self) -> list[psutil.Process]:
        """Returns those of our processes that run, and not below an `a2l serve` that runs."""
        tree = set(self.processes())
        marked = [process for process in psutil.process_iter() if self._is_marked(process)]
        ours = {*self._seen.values(), *marked}
        self._seen = {process.pid: process for process in running(ours)}
        return [process for process in self._seen.values() if process not in tree]

    def orphans(self, doomed: Sequence[psutil.Process]) -> tuple[list[str], float]:
        """Returns who is left 10 s from now of the doomed without a root, and how long the others took."""
        began = time.monotonic()

        def is_clean() -> bool:
            return not self.strangers() and not running(doomed)

        wait_until(is_clean, timeout_s=ORPHAN_S)
        left = self.strangers()
        return [_described(process) for process in left], time.monotonic() - began

    def late_end(self) -> str:
        """Returns what becomes of those who were left: the claim is broken, but a drain that is slow is no leak."""
        began = time.monotonic()
        if wait_until(lambda: not self.strangers(), timeout_s=_END_S):
            return f"they ended by themselves {time.monotonic() - began:.1f} s later"
        return f"they were still there {_END_S:g} s later"

    def remains(self) -> Counter[str]:
        """Returns what lies in TMPDIR, by the part of its names that is not drawn."""
        return Counter(_kind(path.name) for path in self._tmp.iterdir())

    def stop(self) -> None:
        """Ends it in order, and whoever is left by force."""
        if self._process is not None and not self.has_ended:
            self.processes()
            self._process.send_signal(signal.SIGTERM)
            self.await_end()
        self.kill_left()

    def kill_left(self) -> None:
        """Kills all of ours."""
        for process in (*self.processes(), *self.strangers()):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait()

    def _is_marked(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            return process.environ().get("TMPDIR") == str(self._tmp)
        return False


@contextmanager
def killable_serve(
    folder: Path, *, tmp: Path, engine: Engine, tree: Checkout = HERE
) -> Generator[KillableServe]:
    """A running `a2l serve`; none of its processes outlives the context."""
    serve = KillableServe(folder, tmp=tmp, engine=engine, tree=tree)
    try:
        serve.start()
        yield serve
    finally:
        serve.stop()


def running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Returns those that have not ended, reaped or not."""
    found: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_until(is_so: Callable[[], bool], *, timeout_s: float, poll_s: float = _POLL_S) -> bool:
    """Returns whether it came to be so in time."""
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(poll_s)
    return True


def _role(process: psutil.Process) -> str:
    """Returns what a process below `a2l serve` is, and of which service."""
    words = " ".join(_words(process))
    part = next((part for word, part in _PARTS.items() if word in words), "")
    relatives = (process, *process.parents(), *process.children())
    services = (name for one in relatives for name in TARGETS if name in _words(one))
    return f"{next(services, 'unknown')} {part or 'other: ' + words[:60]}"


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _described(process: psutil.Process) -> str:
    words = " ".join(_words(process)).strip()
    part = next((part for word, part in _PARTS.items() if word in words), words[-60:])
    return part or f"pid {process.pid}"


def _kind(name: str) -> str:
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name):
        return "socket of vLLM"
    return re.sub(r"[-_][0-9a-z_]{8,}$", "", name)


def _is_ready(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/readyz"
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _free_ports() -> tuple[int, int]:
    """Returns two ports that are free, with as many behind them as there are services.

    Below those that a system gives to whoever calls out, as they are free for moments while services start anew.
    """
    found: list[int] = []
    for port in range(21_000 + os.getpid() % 400 * 25, 32_700, len(TARGETS)):
        if all(_is_free(port + place) for place in range(len(TARGETS))):
            found.append(port)
        if len(found) == 2:
            return found[0], found[1]
    raise AssertionError("no ports are free")


def _is_free(port: int) -> bool:
    with socket.socket() as listener, suppress(OSError):
        listener.bind(("127.0.0.1", port))
        return True
    return False
