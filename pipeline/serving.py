"""The three services as processes of this machine: started, waited for, watched, stopped.

Each runs the public command `bentoml serve` in a session of its own, so that Ctrl-C reaches only
us and we stop them in order. Knows their names, targets and ports, and none of their code.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from pipeline.errors import ConfigError, EndpointError

HTTP_PORT = 3001
GRPC_PORT = 50051
_STOP_S = 60.0
_POLL_S = 0.1
_PROBE_TIMEOUT_S = 2.0
_TAIL_LINES = 30

TARGETS: dict[str, str] = {
    "question-reward": "services.question_reward:QuestionReward",
    "answer-reward": "services.answer_reward:AnswerReward",
    "inner-llm": "services.inner_llm:InnerLLM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One service that answers."""

    name: str
    http_url: str
    grpc_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    served: Served
    popen: subprocess.Popen[bytes]
    log: Path

    def failure(self) -> str | None:
        """Returns what the log says last if the process has ended, else None."""
        status = self.popen.poll()
        if status is None:
            return None
        return f"{self.served.name} ended with status {status}; its log ends with:\n{self.tail()}"

    def tail(self) -> str:
        """Returns the last lines of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


class Serving:
    """Running services; `check` says when one of them has died."""

    def __init__(self, processes: Sequence[_Process]) -> None:
        self.processes = processes

    @property
    def services(self) -> tuple[Served, ...]:
        """The services, in the order of `TARGETS`."""
        return tuple(process.served for process in self.processes)

    def check(self) -> None:
        """Does nothing while all services run.

        Raises:
            EndpointError: one has ended; the message holds the tail of its log.
        """
        for process in self.processes:
            failure = process.failure()
            if failure is not None:
                raise EndpointError(failure)

    def watch(self) -> None:
        """Returns never: waits until a service ends, then raises as `check` does."""
        while True:
            self.check()
            time.sleep(_POLL_S)


@contextmanager
def serving(
    models_dir: Path,
    *,
    only: Sequence[str] = (),
    http_port: int = HTTP_PORT,
    grpc_port: int = GRPC_PORT,
    environ: Mapping[str, str] = os.environ,
    timeout_s: float = 600.0,
    on_ready: Callable[[Served], None] = lambda _: None,
) -> Generator[Serving]:
    """Runs the services on loopback with the checkpoints `models_dir`/NAME, and stops them at exit.

    Ports count up from `http_port` and `grpc_port`, a fixed place for each name. `environ` is
    what the services see besides what is set here. Yields when all of them answer; `on_ready` is
    called for each as it does.

    Raises:
        ConfigError: an unknown name, no checkpoint, or BentoML is not installed.
        EndpointError: a service ended, or did not answer within `timeout_s`.
    """
    names = _names(only)
    _require_services()
    is_fake = environ.get("A2L_ENGINE") == "fake"
    if not is_fake:
        _require_checkpoints(models_dir, names)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="a2l-serve-")))
        processes: list[_Process] = []
        stack.callback(_stop, processes)
        for name in names:
            overlay = {} if is_fake else {"A2L_MODEL_DIR": str((models_dir / name).resolve())}
            place = list(TARGETS).index(name)
            processes.append(
                _start(
                    name,
                    folder=folder / name,
                    http_port=http_port + place,
                    grpc_port=grpc_port + place,
                    environ={**environ, **overlay},
                )
            )
        running = Serving(processes)
        _await_ready(processes, timeout_s=timeout_s, on_ready=on_ready)
        yield running


def _names(only: Sequence[str]) -> list[str]:
    unknown = [name for name in only if name not in TARGETS]
    if unknown:
        raise ConfigError(f"there is no service {unknown[0]!r}; the names are {', '.join(TARGETS)}")
    return [name for name in TARGETS if not only or name in only]


def _require_checkpoints(models_dir: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (models_dir / name).is_dir():
            raise ConfigError(f"there is no checkpoint {models_dir / name}")


def _require_services() -> None:
    if importlib.util.find_spec("bentoml") is None:
        raise ConfigError(
            "bentoml is not installed here: pip install 'align2llava[services,reward,llm-cpu]'"
        )


def _services_root() -> Path:
    """Returns the folder that holds the package `services`, without importing it."""
    spec = importlib.util.find_spec("services")
    if spec is None or spec.origin is None:
        raise ConfigError("the package `services` is not installed here")
    return Path(spec.origin).parent.parent


def _start(
    name: str, *, folder: Path, http_port: int, grpc_port: int, environ: Mapping[str, str]
) -> _Process:
    tls = "s" if environ.get("A2L_TLS_CERT_FILE") else ""
    served = Served(
        name=name,
        http_url=f"http{tls}://127.0.0.1:{http_port}",
        grpc_url=f"grpc{tls}://127.0.0.1:{grpc_port}",
    )
    folder.mkdir()
    log = folder / "log"
    command = [
        *(sys.executable, "-m", "bentoml", "serve", TARGETS[name]),
        *("--host", "127.0.0.1", "--port", str(http_port)),
        *("--working-dir", str(_services_root())),
    ]
    with log.open("wb") as output:
        popen = subprocess.Popen(  # noqa: S603  (our own interpreter and constants)
            command,
            env={
                # Threads are fixed: rewards may depend on their number in the last bit.
                "OMP_NUM_THREADS": "1",
                **environ,
                "A2L_GRPC_PORT": str(grpc_port),
                # Servers that share it wipe each other's metrics.
                "BENTOML_HOME": str(folder / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Process(served=served, popen=popen, log=log)


def _await_ready(
    processes: Sequence[_Process], *, timeout_s: float, on_ready: Callable[[Served], None]
) -> None:
    waiting = list(processes)
    give_up = time.monotonic() + timeout_s
    # The probes ask our own children on loopback; who they are is no question.
    with httpx.Client(trust_env=False, timeout=_PROBE_TIMEOUT_S, verify=False) as http:  # noqa: S501  (see above)
        while waiting:
            for process in list(waiting):
                failure = process.failure() or _reported_failure(http, process)
                if failure is not None:
                    raise EndpointError(failure)
                if _status(http, f"{process.served.http_url}/readyz") == 200:
                    waiting.remove(process)
                    on_ready(process.served)
            if waiting and time.monotonic() > give_up:
                late = waiting[0]
                raise EndpointError(
                    f"{late.served.name} does not answer after {timeout_s:g} s; its log ends with:\n"
                    f"{late.tail()}"
                )
            time.sleep(_POLL_S)


def _reported_failure(http: httpx.Client, process: _Process) -> str | None:
    if _status(http, f"{process.served.http_url}/livez") != 503:
        return None
    return f"{process.served.name} did not load; its log ends with:\n{process.tail()}"


def _status(http: httpx.Client, url: str) -> int:
    """Returns the status of a probe; 0 where nobody answers yet."""
    try:
        return http.get(url).status_code
    except httpx.TransportError:
        return 0


def _stop(processes: Sequence[_Process]) -> None:
    """Asks all to drain, waits, and kills what is still there."""
    for process in processes:
        if process.popen.poll() is None:
            process.popen.send_signal(signal.SIGTERM)
    give_up = time.monotonic() + _STOP_S
    for process in processes:
        try:
            process.popen.wait(timeout=max(0.0, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
        # A worker can outlive a parent that was killed; it shares the parent's group.
        with suppress(ProcessLookupError):
            os.killpg(process.popen.pid, signal.SIGKILL)
