"""Where cases are run: the commands, a folder, and services that are started when first asked for."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from align2llava.clients.wire.kinds import ServiceKind
from tests.cases.case import Ran
from tests.contract.servers import ROOT, Server, server

SHARED = ROOT.parent / "shared" / "cases"
MODELS = ROOT / "examples" / "blocks" / "models"
A2L = Path(sys.executable).with_name("a2l")
_KEYS: dict[str, ServiceKind] = {
    "question_reward": "question-reward",
    "answer_reward": "answer-reward",
    "inner_llm": "inner-llm",
}
_PATIENCE_S = 300.0


class Bench:
    """A folder and fake services for as long as it is entered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._fakes: dict[str, Server] = {}
        self._num_folders = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def new_folder(self) -> Path:
        self._num_folders += 1
        folder = self.folder / f"{self._num_folders:03}"
        folder.mkdir(parents=True)
        return folder

    def fakes(self) -> Mapping[str, Server]:
        """The three services with the fake engine, one start for all cases."""
        if not self._fakes:
            for name in _KEYS.values():
                running = server(name, self.folder / "fakes" / name, await_ready=False)
                self._fakes[name] = self._stack.enter_context(running)
            for running in self._fakes.values():
                wait_until_ready(running)
        return self._fakes

    @contextmanager
    def model(self, kind: ServiceKind, folder: Path, **environ: str) -> Iterator[Server]:
        """A service of a checkpoint; it may have ended instead of getting ready."""
        settings = {"A2L_ENGINE": "vllm" if kind == "inner-llm" else "torch", **environ}
        settings["A2L_MODEL_DIR"] = str(folder)
        with server(kind, self.new_folder(), settings=settings, await_ready=False) as running:
            yield running

    def endpoints(self, transport: str = "grpc") -> list[str]:
        """The options that lead a config to the fake services."""
        fakes = self.fakes()
        places = {
            key: fakes[name].url("rest" if transport == "rest" else "grpc")
            for key, name in _KEYS.items()
        }
        return [
            part for key, url in places.items() for part in ("--set", f"endpoints.{key}.url={url}")
        ]

    def a2l(self, verb: str, *arguments: object, sets: Sequence[str] = ()) -> Ran:
        """A verb that reads a config, against the fake services."""
        return self.run([A2L, verb, *arguments, *self.endpoints(), *sets], name=verb)

    def run(
        self,
        command: Sequence[object],
        *,
        name: str,
        cwd: Path = ROOT,
        timeout_s: float = _PATIENCE_S,
        **environ: str,
    ) -> Ran:
        """Any command; its children end with it."""
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=timeout_s)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            code = 124
        return Ran(name=name, code=code, out=_anonymous(out), err=_anonymous(err))


def _anonymous(output: bytes) -> str:
    """A command's output without the names of cases, which hold the words that are looked for."""
    return re.sub(f"{re.escape(str(SHARED))}/[a-z0-9-]+", "CASE", output.decode("utf-8", "replace"))


def environment(**more: str) -> dict[str, str]:
    """The environment of a user: no settings of ours, no proxies, one thread."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("A2L_", "BENTOML_")) and not name.lower().endswith("_proxy")
    }
    return {**kept, "OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "True", **more}


def wait_until_ready(running: Server, *, timeout_s: float = _PATIENCE_S) -> bool:
    """Whether a service got ready; False where it ended or is dead."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up and running.process.poll() is None:
        if status(running, "/readyz") == 200:
            return True
        if status(running, "/livez") == 503:
            return False
        time.sleep(0.1)
    return False


def status(running: Server, path: str) -> int:
    """The status of a GET; 0 where nobody answers."""
    try:
        return get(running.http_port, path)[0]
    except OSError:
        return 0


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def post(port: int, path: str, body: object, **headers: str) -> tuple[int, str]:
    """The status and text of a POST; 0 and the error where nobody answers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("POST", path, data, {"content-type": "application/json", **named})
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = children.read_text().split() if children.exists() else []
    return [pid, *(below for child in found for below in family(int(child)))]


def memory_mib(pid: int, field: str) -> float:
    """A field of /proc/PID/status (VmRSS, VmHWM), of the largest process of a family, in MiB."""
    sizes = [0.0]
    for member in family(pid):
        path = Path(f"/proc/{member}/status")
        lines = path.read_text().splitlines() if path.exists() else []
        sizes += [int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")]
    return max(sizes)
