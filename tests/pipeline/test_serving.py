import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from align2llava.pipeline.errors import ConfigError, EndpointError
from align2llava.pipeline.serving import serving
from tests.contract.servers import ROOT, free_port
from tests.services.test_hosting import write_certificate

FAKE = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))},
    "A2L_ENGINE": "fake",
}


def ports() -> dict[str, int]:
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
    command = [sys.executable, "-m", "typer", "align2llava.pipeline.cli", "run", "serve"]
    process = subprocess.Popen(
        [*command, "--only", "question-reward", *options],
        cwd=ROOT,
        env=FAKE,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    url = f"http://127.0.0.1:{chosen['http_port']}"
    assert line == f"ready question-reward {url} grpc://127.0.0.1:{chosen['grpc_port']}\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.stdout.close()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/livez", trust_env=False)
