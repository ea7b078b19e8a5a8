"""One service as a process of this machine: started by `bentoml serve`, asked how it is, stopped.

It runs in a session of its own, so that Ctrl-C reaches only us, on a tether, so that it ends when we do, and
imports nothing of the folder we were started in. Knows the services' names and targets, and none of their code.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

import align2llava
from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.process.children import child_environ, module_command

HOST = "127.0.0.1"
_TAIL_LINES = 30
_LOG_BYTES = 2**24
_PACKAGES_ROOT = Path(align2llava.__path__[0]).parent
_FILE_SETTINGS = (
    "A2L_API_KEYS_FILE",
    "A2L_TLS_CERT_FILE",
    "A2L_TLS_KEY_FILE",
    "A2L_TLS_CLIENT_CA_FILE",
)

TARGETS: dict[str, str] = {
    "question-reward": "align2llava.services.question_reward:QuestionReward",
    "answer-reward": "align2llava.services.answer_reward:AnswerReward",
    "inner-llm": "align2llava.services.inner_llm:InnerLLM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One service, where it answers."""

    name: str
    http_url: str
    grpc_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProcess:
    """One service that was started."""

    served: Served
    ports: tuple[int, int]  # HTTP, gRPC
    popen: subprocess.Popen[bytes]
    log: Path

    def failure(self) -> str | None:
        """Returns what the log says last if the process has ended, else None."""
        status = self.popen.poll()
        if status is None:
            return None
        return f"{self.served.name} ended with status {status}; {self.tail()}"

    def reported_failure(self, http: httpx.Client) -> str | None:
        """Returns why the service says that it cannot become useful, None while it may."""
        if not self._answers(http, "/livez", 503):
            return None
        name, said = self.served.name, _said(http, f"{self.served.http_url}/v1/model")
        return f"{name}: {said}; its log: {self.log}" if said else f"{name} failed; {self.tail()}"

    def is_ready(self, http: httpx.Client) -> bool:
        """Whether the service answers, and it is ours."""
        return self._answers(http, "/readyz", 200)

    def tail(self) -> str:
        """Returns where the log is, and its last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"its log {self.log} ends with:\n" + "\n".join(lines[-_TAIL_LINES:])

    def turn_log(self) -> None:
        """Puts a log that has grown long aside, in the place of the one before; what is written meanwhile may be lost."""
        if self.log.stat().st_size > _LOG_BYTES:
            shutil.copyfile(self.log, self.log.with_suffix(".1"))
            os.truncate(self.log, 0)

    def _answers(self, http: httpx.Client, path: str, status: int) -> bool:
        """Whether processes of ours answer a probe with this status.

        A port is shared with nobody, so who held it before the question and after it gave the answer. To ask
        who holds it takes a walk over all processes: only where the answer matters.
        """
        url = f"{self.served.http_url}{path}"
        if _status(http, url) != status or not self._is_listening():
            return False
        return _status(http, url) == status and self._is_listening()

    def _is_listening(self) -> bool:
        """Whether processes that we started hold both ports."""
        return set(self.ports) <= self._listening()

    def _listening(self) -> set[int]:
        import psutil  # noqa: PLC0415  (comes with BentoML; a driver alone lacks it)

        ports: set[int] = set()
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.popen.pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    ports |= {
                        one.laddr.port
                        for one in process.net_connections(kind="inet")
                        if one.status == psutil.CONN_LISTEN
                    }
        return ports


def start(
    name: str, *, folder: Path, ports: tuple[int, int], environ: Mapping[str, str]
) -> ServiceProcess:
    """Starts a service on loopback; its log and what it writes lie in `folder`, which is made here."""
    http_port, grpc_port = ports
    tls = "s" if environ.get("A2L_TLS_CERT_FILE") else ""
    folder.mkdir()
    log = folder / "log"
    command = module_command(
        *("align2llava.pipeline.serving.tether", "bentoml"),
        *("serve", TARGETS[name], "--host", HOST, "--port", str(http_port)),
        *("--working-dir", str(_PACKAGES_ROOT)),
    )
    # Appended to, so that what its writers say after it was cut begins where it was cut.
    with log.open("ab") as output:
        popen = subprocess.Popen(  # noqa: S603  (our own interpreter and constants)
            command,
            cwd=folder,
            env=child_environ(environ)
            | {
                # Threads are fixed: rewards may depend on their number in the last bit.
                "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS", "1"),
                **_absolute(environ),
                "A2L_GRPC_PORT": str(grpc_port),
                # Servers that share it wipe each other's metrics.
                "BENTOML_HOME": str(folder / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdin=subprocess.PIPE,  # the tether
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(
        name=name,
        http_url=f"http{tls}://{HOST}:{http_port}",
        grpc_url=f"grpc{tls}://{HOST}:{grpc_port}",
    )
    return ServiceProcess(served=served, ports=ports, popen=popen, log=log)


def refuse_port(port: int, *, of: str, option: str) -> None:
    """Refuses a port of loopback on which this machine lets nobody else listen.

    Raises:
        EndpointError: names the port, whose it would be, and the option that chooses another.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            raise EndpointError(
                f"{of} cannot listen on port {port} of {HOST}: {error.strerror}; "
                f"stop who listens there, or choose other ports with {option}"
            ) from error


def kill_group(process: ServiceProcess) -> None:
    """Kills what is left of the supervisor's group; workers have groups, and keepers, of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.popen.pid, signal.SIGKILL)
    if process.popen.stdin is not None:
        process.popen.stdin.close()


def _absolute(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the files that settings name as seen from here: a service runs in another folder."""
    return {
        name: str(Path(environ[name]).resolve()) for name in _FILE_SETTINGS if environ.get(name)
    }


def _status(http: httpx.Client, url: str) -> int:
    """Returns the status of a probe; 0 where nobody answers yet."""
    try:
        return http.get(url).status_code
    except httpx.TransportError:
        return 0


def _said(http: httpx.Client, url: str) -> str:
    """Returns the message of an `unavailable` answer; nothing where another one comes."""
    try:
        answer = http.get(url)
        return str(answer.json()["error"]["message"]) if answer.status_code == 503 else ""
    except (httpx.TransportError, ValueError, KeyError, TypeError):
        return ""
