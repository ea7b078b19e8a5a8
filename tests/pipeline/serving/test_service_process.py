"""A service as a process: what becomes of it by its ports and answers, with strangers of the test."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from align2llava.pipeline.errors import EndpointError
from align2llava.pipeline.serving.service_process import (
    Served,
    ServiceProcess,
    kill_group,
    refuse_port,
    start,
)
from tests.contract.servers import free_port


class Stranger(BaseHTTPRequestHandler):
    """Answers every probe with 200, as any web server on the port would."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name)
        pass


@contextmanager
def stranger(handler: type[BaseHTTPRequestHandler] = Stranger) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(
    tmp_path: Path, ports: tuple[int, int], code: str, *words: str
) -> Iterator[ServiceProcess]:
    """A process of ours that runs `code`."""
    log = tmp_path / "log"
    log.write_text("last words\n")
    popen = subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.DEVNULL, start_new_session=True
    )
    http_url, grpc_url = f"http://127.0.0.1:{ports[0]}", f"grpc://127.0.0.1:{ports[1]}"
    served = Served(name="question-reward", http_url=http_url, grpc_url=grpc_url)
    process = ServiceProcess(served=served, ports=ports, popen=popen, log=log)
    try:
        yield process
    finally:
        kill_group(process)
        popen.wait()


def sleeping(tmp_path: Path, port: int) -> AbstractContextManager[ServiceProcess]:
    """A process of ours that never listens, whose port is somebody else's."""
    return running(tmp_path, (port, 1), "import time; time.sleep(60)")


def test_stranger_on_the_port_is_never_called_ready(tmp_path: Path):
    with (
        stranger() as port,
        sleeping(tmp_path, port) as process,
        httpx.Client(trust_env=False) as http,
    ):
        assert http.get(process.served.http_url).status_code == 200
        assert not process.is_ready(http)


# A service whose model did not load, on the two ports of the command line.
FAILED = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Failed(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        if self.path == "/v1/model":
            self.wfile.write(b'{"error": {"code": "unavailable", "message": "no KV cache"}}')
http, other = (HTTPServer(("127.0.0.1", int(port)), Failed) for port in sys.argv[1:])
http.serve_forever()
"""


def test_service_that_did_not_load_is_told_by_its_own_words(tmp_path: Path):
    ports = free_port(), free_port()
    with (
        running(tmp_path, ports, FAILED, *map(str, ports)) as process,
        httpx.Client(trust_env=False, timeout=60) as http,
    ):
        failure = None
        for _ in range(400):
            if failure := process.reported_failure(http):
                break
            time.sleep(0.05)
        assert failure == f"question-reward: no KV cache; its log: {tmp_path / 'log'}"


class FailedStranger(Stranger):
    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()


def test_what_a_stranger_on_the_port_says_is_not_taken_for_ours(tmp_path: Path):
    with (
        stranger(FailedStranger) as port,
        sleeping(tmp_path, port) as process,
        httpx.Client(trust_env=False) as http,
    ):
        assert http.get(process.served.http_url).status_code == 503
        assert process.reported_failure(http) is None


def test_ended_service_is_told_by_its_status_and_last_words(tmp_path: Path):
    with sleeping(tmp_path, free_port()) as process:
        assert process.failure() is None
        kill_group(process)
        process.popen.wait()
        assert "question-reward ended with status -9" in str(process.failure())
        assert str(process.failure()).endswith("last words")


def test_long_log_is_put_aside_and_goes_on_from_its_beginning(tmp_path: Path):
    with sleeping(tmp_path, free_port()) as process, process.log.open("ab", buffering=0) as log:
        log.truncate(2**24)
        process.turn_log()
        assert process.log.stat().st_size == 2**24
        log.write(b"one more\n")
        process.turn_log()
        log.write(b"and on\n")
    assert process.log.read_bytes() == b"and on\n"
    aside = (tmp_path / "log.1").read_bytes()
    assert aside.endswith(b"one more\n")
    assert len(aside) == 2**24 + 9


def test_taken_port_is_refused_by_number_and_option():
    with stranger() as port, pytest.raises(EndpointError, match=rf"port {port} .*--grpc-port"):
        refuse_port(port, of="question-reward (gRPC)", option="--grpc-port")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_nothing_of_the_current_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("click", "services", "clients", "bentoml"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the folder ran')\n")
    monkeypatch.chdir(tmp_path)
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))},
        "A2L_ENGINE": "fake",
        "A2L_TYPO": "1",  # ends it, after everything was imported
    }
    process = start(
        "inner-llm",
        folder=tmp_path / "run",
        ports=(free_port(), free_port()),
        environ=environ,
    )
    try:
        flags = (
            Path(f"/proc/{process.popen.pid}/fdinfo/1").read_text().split("flags:")[1].split()[0]
        )
        assert int(flags, 8) & os.O_APPEND  # or a log that was cut would begin with zeros
        assert process.popen.wait(timeout=100) == 1
    finally:
        kill_group(process)
    assert "unknown environment variable A2L_TYPO" in process.tail()
    assert "of the folder ran" not in process.tail()
