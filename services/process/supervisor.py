"""The `bentoml serve` around this process: the addresses it states, the ports it needs, its end.

Runs in two processes: the supervisor itself, which checks before it starts a worker, and the worker,
which cannot start without its supervisor and is started by it again and again where it fails.
"""

import os
import signal
import socket
from contextlib import ExitStack

import click
import psutil
from bentoml._internal.configuration.containers import BentoMLContainer

from align2llava.services.settings import Settings, SettingsError

_PID_VARIABLE = "ALIGN2LLAVA_SUPERVISOR"


def stated_hosts() -> list[str]:
    """Returns the `--host` of the `bentoml serve` that runs here, if it states one."""
    host = _option("host")
    return [host] if isinstance(host, str) and host else []


def listening_hosts() -> list[str]:
    """Returns the addresses this process listens on: the HTTP socket it was handed, if any."""
    connections = psutil.Process().net_connections(kind="inet")
    return [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN and c.laddr]


def refuse_taken_ports(settings: Settings) -> None:
    """Refuses, in the supervisor, ports on which this machine lets nobody else listen.

    Raises:
        SettingsError: names the port and what chooses another.
    """
    host = next(iter(stated_hosts()), None) or str(BentoMLContainer.http.host.get())
    port = _option("port")
    http_port = port if isinstance(port, int) else int(BentoMLContainer.http.port.get())
    refuse_ports(host, {"--port": http_port, "A2L_GRPC_PORT": settings.grpc_port})


def refuse_ports(host: str, ports: dict[str, int]) -> None:
    """Refuses ports, by what sets each, that cannot all be listened on at once; 0 is any free one.

    Raises:
        SettingsError: names the port and what sets it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        for setting, port in ports.items():
            listener = stack.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
                listener.listen()
            except OSError as error:
                reason = error.strerror or str(error)
                raise SettingsError(
                    f"cannot listen on port {port} of {host} ({setting}): {reason}; "
                    f"stop who listens there, or choose another port with {setting}"
                ) from error


def is_here() -> bool:
    """Whether this process is the worker of a supervisor."""
    return _option("fd") is not None  # only BentoML's worker has this option


def end() -> None:
    """Ends the supervisor of this worker, which would else start it again for ever; no-op without one."""
    if is_here():
        os.kill(os.getppid(), signal.SIGTERM)


def announce() -> None:
    """Has the workers of this supervisor know which process it is, even where it dies before they ask."""
    os.environ[_PID_VARIABLE] = str(os.getpid())


def pid() -> int:
    """Returns the process id of the supervisor of this worker."""
    return int(os.environ.get(_PID_VARIABLE) or os.getppid())


def _option(name: str) -> object:
    """Returns an option of the command that runs in this process; None where there is none."""
    context = click.get_current_context(silent=True)
    return context.params.get(name) if context is not None else None
