"""The three services of this machine together: ports taken, started, waited for, watched, stopped."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from align2llava.pipeline.errors import ConfigError, EndpointError
from align2llava.pipeline.extras import how_to_install
from align2llava.pipeline.serving.service_process import (
    TARGETS,
    Served,
    ServiceProcess,
    kill_group,
    refuse_port,
    start,
)

HTTP_PORT = 3001
GRPC_PORT = 50051
_STOP_S = 60.0
_POLL_S = 0.1
_TELL_S = 10.0
_PROBE_TIMEOUT_S = 2.0
_WATCH_S = 1.0
# A service whose engine died ends its own process and is started again; one that did not load stays as it is.
_RESTART_S = 90.0


class Serving:
    """Running services; `check` says when one of them has died."""

    def __init__(self, processes: Sequence[ServiceProcess]) -> None:
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

    def watch(self, *, patience_s: float = _RESTART_S) -> None:
        """Returns never: waits until a service ends, or says for long that it cannot answer any more; keeps logs short.

        Raises:
            EndpointError: names the service, and why.
        """
        well_at = dict.fromkeys(self.services, time.monotonic())
        with _probes() as http:
            while True:
                self.check()
                for process in self.processes:
                    process.turn_log()
                    failure = process.reported_failure(http)
                    if failure is None:
                        well_at[process.served] = time.monotonic()
                    elif time.monotonic() > well_at[process.served] + patience_s:
                        raise EndpointError(failure)
                time.sleep(_WATCH_S)


@contextmanager
def serving(
    models_dir: Path,
    *,
    only: Sequence[str] = (),
    http_port: int = HTTP_PORT,
    grpc_port: int = GRPC_PORT,
    environ: Mapping[str, str] = os.environ,
    timeout_s: float = 1800.0,
    on_ready: Callable[[Served], None] = lambda _: None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Generator[Serving]:
    """Runs the services on loopback with the checkpoints `models_dir`/NAME, and stops them at exit.

    Ports count up from `http_port` and `grpc_port`, a fixed place for each name. `environ` is what the services
    see besides what is set here. Yields when all answer; `on_ready` is called for each as it does, `on_progress`
    with lines for a reader.
    The logs lie in a folder of their own, which stays where a service fails.

    Raises:
        ConfigError: an unknown name, no checkpoint, or BentoML is not installed.
        EndpointError: a port is taken, a service ended, or did not answer within `timeout_s`.
    """
    places = {name: list(TARGETS).index(name) for name in _names(only)}
    _require_services()
    if not (is_fake := environ.get("A2L_ENGINE") == "fake"):
        _require_checkpoints(models_dir, places)
    ports = {name: (http_port + place, grpc_port + place) for name, place in places.items()}
    _require_ports(ports)
    folder = Path(tempfile.mkdtemp(prefix="a2l-serve-"))
    processes: list[ServiceProcess] = []
    is_failed = False
    try:
        for name in places:
            overlay = {} if is_fake else {"A2L_MODEL_DIR": str((models_dir / name).resolve())}
            seen = {**environ, **overlay}
            processes.append(start(name, folder=folder / name, ports=ports[name], environ=seen))
            on_progress(_described(processes[-1]))
        _await_ready(processes, timeout_s=timeout_s, on_ready=on_ready, on_progress=on_progress)
        yield Serving(processes)
    except EndpointError:
        is_failed = True  # its message names a log
        raise
    finally:
        _stop(processes, on_progress)
        if not is_failed:
            shutil.rmtree(folder, ignore_errors=True)


def _described(process: ServiceProcess) -> str:
    served = process.served
    return f"starting {served.name} on {served.http_url} and {served.grpc_url}; log: {process.log}"


def _names(only: Sequence[str]) -> list[str]:
    unknown = [name for name in only if name not in TARGETS]
    if unknown:
        raise ConfigError(f"there is no service {unknown[0]!r}; the names are {', '.join(TARGETS)}")
    return [name for name in TARGETS if not only or name in only]


def _require_checkpoints(models_dir: Path, names: Mapping[str, int]) -> None:
    for name in names:
        if not (models_dir / name).is_dir():
            raise ConfigError(f"there is no checkpoint {models_dir / name}")


def _require_ports(ports: Mapping[str, tuple[int, int]]) -> None:
    for name, (http_port, grpc_port) in ports.items():
        refuse_port(http_port, of=f"{name} (HTTP)", option="--http-port")
        refuse_port(grpc_port, of=f"{name} (gRPC)", option="--grpc-port")


def _require_services() -> None:
    if importlib.util.find_spec("bentoml") is None:
        extras = "services,reward,llm-cpu"
        raise ConfigError(f"bentoml is not installed here: {how_to_install(extras)}")


def _await_ready(
    processes: Sequence[ServiceProcess],
    *,
    timeout_s: float,
    on_ready: Callable[[Served], None],
    on_progress: Callable[[str], None],
) -> None:
    waiting = list(processes)
    began = told = time.monotonic()
    with _probes() as http:
        while waiting:
            for process in list(waiting):
                failure = process.failure() or process.reported_failure(http)
                if failure is not None:
                    raise EndpointError(failure)
                if process.is_ready(http):
                    waiting.remove(process)
                    on_ready(process.served)
            now = time.monotonic()
            if waiting and now > began + timeout_s:
                late = waiting[0]
                raise EndpointError(
                    f"{late.served.name} does not answer after {timeout_s:g} s; {late.tail()}"
                )
            if waiting and now > told + _TELL_S:
                told = now
                names = ", ".join(process.served.name for process in waiting)
                on_progress(f"waiting for {names}: loading for {now - began:.0f} s")
            time.sleep(_POLL_S)


def _probes() -> httpx.Client:
    """Returns a client for our own children on loopback, of whom it is known otherwise who they are."""
    return httpx.Client(trust_env=False, timeout=_PROBE_TIMEOUT_S, verify=False)  # noqa: S501  (see above)


def _stop(processes: Sequence[ServiceProcess], on_progress: Callable[[str], None]) -> None:
    """Asks all to drain, waits, and kills what is still there."""
    if any(process.failure() is None for process in processes):
        on_progress("stopping; what was accepted is answered first")
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
        kill_group(process)
