"""`a2l curate` against services that lie: a typed end in time, in bounded memory, with a line that says what."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.lies import LIES
from tests.contract.scripted_runs import DRIVER, SECTIONS, environ, records, write_records
from tests.contract.servers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GROWTH_BYTES = 200 * 2**20
MAX_CHARS = 2_000  # of a line that tells of a lie
MAX_ANSWER_CHARS = 2**20
MAX_RUN_BYTES = 4 * 2**20
KINDS = {"Rewrite": "inner-llm", "Review": "inner-llm"}
TOLD = [(name, transport) for name, lie in LIES.items() for transport in lie.transports()]
RUNS = [(name, transport) for name, transport in TOLD if LIES[name].exit_code is not None]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a driver ended."""

    status: int
    errors: str
    peak_bytes: int
    run_bytes: int


class Services:
    """The process of the lying services, and the input that is curated with them."""

    def __init__(self, process: "subprocess.Popen[str]", config: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._urls = json.loads(self._stdout.readline())
        self._config = config

    def tell(self, lie: str) -> None:
        self._stdin.write(f"{lie}\n")
        self._stdin.flush()
        self._stdout.readline()

    def ask(self, lie: str, *, transport: str) -> dict[str, Any]:
        """Returns what came of one call, from a process of its own."""
        self.tell(lie)
        method = LIES[lie].method
        kind = KINDS.get(method, "question-reward")
        child = Path(__file__).with_name("lied_to.py")
        done = subprocess.run(
            [sys.executable, str(child), kind, method, self._urls[transport][kind]],
            env=environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    def curate(self, lie: str, *, transport: str, run: Path) -> Ended:
        self.tell(lie)
        words = [*DRIVER, "curate", str(self._config), "--run-dir", str(run)]
        for kind, url in self._urls[transport].items():
            words += ["--set", f"endpoints.{SECTIONS[kind]}.url={url}"]
        errors = run.with_suffix(".stderr")
        with errors.open("wb") as file:
            process = subprocess.Popen(
                words, env=environ(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(
            status=process.returncode,
            errors=errors.read_text(),
            peak_bytes=usage.ru_maxrss * 1024,
            run_bytes=sum(path.stat().st_size for path in run.rglob("*") if path.is_file()),
        )


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("world")
    config = write_records(folder, records(20))
    text = config.read_text().replace("batch_items: 8", "batch_items: 8, timeout_s: 3")
    config.write_text(text.replace("seed: 11", "seed: 11, scratch: scratch"))
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("lying_service.py"))],
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Services(process, config)
        process.kill()


@pytest.fixture(scope="module")
def honest(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    ended = services.curate("none", transport="rest", run=tmp_path_factory.mktemp("honest") / "run")
    assert ended.status == 0, ended.errors
    return ended


@pytest.mark.parametrize(("name", "transport"), TOLD)
def test_a_lie_is_a_typed_error_in_time_and_in_bounded_memory(
    services: Services, name: str, transport: str
):
    told = services.ask(name, transport=transport)
    assert ("answer_chars" in told) is LIES[name].is_taken, told
    assert told.get("answer_chars", 0) < MAX_ANSWER_CHARS
    message = str(told.get("message", ""))
    assert len(message) < MAX_CHARS
    assert "\n" not in message
    assert told["growth"] < GROWTH_BYTES


@pytest.mark.parametrize(("name", "transport"), RUNS)
def test_a_run_against_a_liar_ends_in_one_line(
    services: Services, honest: Ended, tmp_path: Path, name: str, transport: str
):
    ended = services.curate(name, transport=transport, run=tmp_path / "run")
    assert ended.status == LIES[name].exit_code, ended.errors[-2000:]
    assert "Traceback" not in ended.errors
    assert "\x1b" not in ended.errors
    told = [line for line in ended.errors.splitlines() if line.startswith("a2l: ")]
    assert len(told) == (1 if ended.status else 0)
    assert all(len(line) < MAX_CHARS for line in told)
    assert ended.peak_bytes - honest.peak_bytes < GROWTH_BYTES
    assert ended.run_bytes < MAX_RUN_BYTES
