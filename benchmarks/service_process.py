"""A real reward service for a benchmark: `bentoml serve` in its own process, its metrics, its memory."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
_READY_S = 180.0
_STOP_S = 60.0
_METRICS = {
    "a2l_batch_items_count": "num_batches",
    "a2l_batch_items_sum": "num_items",
    "a2l_device_seconds_total": "device_s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWork:
    """What the device has done since the service started."""

    num_batches: float
    num_items: float
    device_s: float

    def since(self, before: "DeviceWork") -> "DeviceWork":
        """Returns what came after `before`."""
        return DeviceWork(
            num_batches=self.num_batches - before.num_batches,
            num_items=self.num_items - before.num_items,
            device_s=self.device_s - before.device_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProcess:
    """A running question-reward service."""

    http_port: int
    grpc_port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> httpx.Response:
        """Returns what the service answers to a GET."""
        return httpx.get(f"http://127.0.0.1:{self.http_port}{path}", trust_env=False, timeout=30)

    def device_work(self) -> DeviceWork:
        """Returns what the device has done so far, from `/metrics`."""
        found = dict.fromkeys(_METRICS.values(), 0.0)
        for line in self.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name in _METRICS:
                found[_METRICS[name]] = float(value)
        return DeviceWork(**found)

    def memory_mib(self) -> float:
        """Returns the resident memory of the process and its children."""
        parent = psutil.Process(self.process.pid)
        everyone = [parent, *parent.children(recursive=True)]
        return sum(process.memory_info().rss for process in everyone) / 2**20


@contextmanager
def running_service(model_dir: Path, settings: Mapping[str, str]) -> Generator[ServiceProcess]:
    """Starts question-reward on a checkpoint, ready to answer, and stops it at the end.

    Raises:
        RuntimeError: it does not become ready; the message holds the end of its log.
    """
    http_port, grpc_port = _free_port(), _free_port()
    with tempfile.TemporaryDirectory(prefix="service-") as folder:
        log = Path(folder) / "service.log"
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}
        environ |= {
            "A2L_MODEL_DIR": str(model_dir),
            "A2L_GRPC_PORT": str(grpc_port),
            "BENTOML_HOME": folder,
            "BENTOML_DO_NOT_TRACK": "True",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        target = "align2llava.services.question_reward:QuestionReward"
        options = ["--host", "127.0.0.1", "-p", str(http_port)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bentoml", "serve", target, *options],
                cwd=ROOT,
                env=environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        service = ServiceProcess(http_port=http_port, grpc_port=grpc_port, process=process)
        try:
            _await_ready(service, log)
            yield service
        finally:
            _stop(process)


def _await_ready(service: ServiceProcess, log: Path) -> None:
    end_s = time.monotonic() + _READY_S
    while time.monotonic() < end_s and service.process.poll() is None:
        try:
            if service.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise RuntimeError(f"the service is not ready:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
