import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import httpx
import psutil
import pytest

from align2llava.pipeline.errors import ConfigError, EndpointError
from align2llava.pipeline.serving.services import Serving, serving
from tests.contract.servers import ROOT, free_port
from tests.pipeline.serving.test_service_process import FAILED
from tests.pipeline.serving.test_service_process import running as own_process
from tests.services.process.test_hosting import write_certificate

FAKE = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))},
    "A2L_ENGINE": "fake",
}


class Ports(TypedDict):
    http_port: int
    grpc_port: int


def ports() -> Ports:
    return {"http_port": free_port(), "grpc_port": free_port()}


def is_gone(url: str) -> bool:
    """Whether nobody listens there any more, within ten seconds."""
    for _ in range(200):
        try:
            httpx.get(f"{url}/livez", trust_env=False)
        except httpx.TransportError:
            return True
        time.sleep(0.05)
    return False


def test_unknown_name_is_a_config_error(tmp_path: Path):
    with (
        pytest.raises(ConfigError, match="no service 'rewards'"),
        serving(tmp_path, only=["rewards"]),
    ):
        pass


def test_missing_checkpoint_is_a_config_error(tmp_path: Path):
    with (
        pytest.raises(ConfigError, match="there is no checkpoint"),
        serving(tmp_path, environ={}, only=["inner-llm"]),
    ):
        pass


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_served_service_answers_and_its_death_is_told(tmp_path: Path):
    with serving(
        tmp_path, only=["answer-reward"], environ=FAKE, timeout_s=100, **ports()
    ) as running:
        (served,) = running.services
        model = httpx.get(f"{served.http_url}/v1/model", trust_env=False).json()
        assert model["kind"] == served.name == "answer-reward"
        running.check()
        os.kill(running.processes[0].popen.pid, signal.SIGKILL)
        with pytest.raises(EndpointError, match="answer-reward ended with status -9"):
            running.watch()
    assert is_gone(served.http_url)  # its worker follows


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_certificates_of_the_services_are_found_in_the_addresses(tmp_path: Path):
    cert_file, key_file = write_certificate(tmp_path)
    environ = {
        **FAKE,
        "A2L_TLS_CERT_FILE": str(cert_file),
        "A2L_TLS_KEY_FILE": str(key_file),
    }
    with serving(
        tmp_path, only=["inner-llm"], environ=environ, timeout_s=100, **ports()
    ) as running:
        (served,) = running.services
        assert served.http_url.startswith("https://")
        assert served.grpc_url.startswith("grpcs://")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_service_that_cannot_start_shows_its_reason(tmp_path: Path):
    environ = {**FAKE, "A2L_TYPO": "1"}
    with (
        pytest.raises(EndpointError, match="unknown environment variable A2L_TYPO"),
        serving(tmp_path, only=["inner-llm"], environ=environ, timeout_s=100, **ports()),
    ):
        pass


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_serve_prints_a_ready_line_and_stops_with_its_children(tmp_path: Path):
    chosen = ports()
    options = ["--http-port", str(chosen["http_port"]), "--grpc-port", str(chosen["grpc_port"])]
    command = [sys.executable, "-m", "typer", "align2llava.pipeline.cli.app", "run", "serve"]
    process = subprocess.Popen(
        [*command, "--only", "question-reward", *options],
        cwd=ROOT,
        env=FAKE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    url = f"http://127.0.0.1:{chosen['http_port']}"
    assert line == f"ready question-reward {url} grpc://127.0.0.1:{chosen['grpc_port']}\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.stdout.close()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/livez", trust_env=False)


def test_service_that_says_for_long_that_it_cannot_answer_ends_the_watch(tmp_path: Path):
    both = free_port(), free_port()
    with (
        own_process(tmp_path, both, FAILED, *map(str, both)) as process,
        pytest.raises(EndpointError, match="question-reward: no KV cache; its log: "),
    ):
        Serving([process]).watch(patience_s=0.0)


def part_of(process: psutil.Process) -> str:
    """What a process of `a2l serve` is."""
    words = " ".join(process.cmdline())
    names = {"keeper.py": "keeper", "worker.service": "worker", "run serve": "a2l serve"}
    return next((name for word, name in names.items() if word in words), "supervisor")


def running(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def wait_gone(processes: Sequence[psutil.Process]) -> None:
    """Waits until all have ended."""
    end = time.monotonic() + 30
    while left := running(processes):
        assert time.monotonic() < end, f"left: {[part_of(process) for process in left]}"
        time.sleep(0.05)


@contextmanager
def served(*only: str) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process], str]]:
    """`a2l serve` of fake services, once they are ready; its processes; the URL of the first service."""
    chosen = ports()
    options = [f"--http-port={chosen['http_port']}", f"--grpc-port={chosen['grpc_port']}"]
    command = [sys.executable, "-m", "typer", "align2llava.pipeline.cli.app", "run", "serve"]
    with subprocess.Popen(
        [*command, *(f"--only={name}" for name in only), *options],
        cwd=ROOT,
        env=FAKE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in only]
        assert all(line.startswith("ready ") for line in lines)
        root = psutil.Process(process.pid)
        processes = [root, *root.children(recursive=True)]
        try:
            yield process, processes, f"http://127.0.0.1:{chosen['http_port']}"
        finally:
            for left in running(processes):
                left.kill()
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("killed", ["a2l serve", "supervisor"])
def test_nothing_is_left_when_a_process_that_cannot_be_replaced_is_killed(killed: str):
    with served("question-reward", "answer-reward") as (process, processes, _):
        parts = [part_of(one) for one in processes]
        assert Counter(parts) == {"a2l serve": 1, "supervisor": 2, "worker": 2, "keeper": 2}
        processes[parts.index(killed)].kill()
        assert process.wait(timeout=60) == {"a2l serve": -signal.SIGKILL, "supervisor": 4}[killed]
        wait_gone(processes)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("killed", ["worker", "keeper"])
def test_killed_worker_or_keeper_is_replaced_together_with_the_other(killed: str):
    with served("question-reward") as (process, processes, url):
        parts = [part_of(one) for one in processes]
        processes[parts.index(killed)].kill()
        wait_gone([processes[parts.index(name)] for name in ("worker", "keeper")])
        end = time.monotonic() + 90
        while not is_well(url):
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        wait_gone(processes)


def is_well(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
