"""The base install is the driver: it works without torch, bentoml, vllm and transformers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.scripted_runs import Stub, environ, records, stub, write_records

ROOT = Path(__file__).resolve().parent.parent
ABSENT = ("torch", "bentoml", "vllm", "transformers", "numpy")
CLIENTS = ", ".join(f"align2llava.clients.{name}" for name in ("api", "connect", "rest", "rpc"))


def ran(*command: object, cwd: Path = ROOT) -> str:
    """Returns what a command printed that ended well, with nothing of this checkout on its path."""
    variables = {k: v for k, v in environ().items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands that `pip install .` gives, from the lock of the base install."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    uv = (sys.executable, "-m", "uv")
    ran(*uv, "venv", "--python", sys.executable, venv)
    install = (*uv, "pip", "install", "--python", venv / "bin" / "python")
    ran(*install, "--require-hashes", "-r", "requirements/driver.lock")
    ran(*install, "--no-deps", ".")
    return venv / "bin"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with stub(tmp_path_factory.mktemp("stub")) as running:
        yield running


def test_driver_and_clients_import_nothing_heavy():
    code = f"""
import sys
from importlib import import_module
sys.modules.update(dict.fromkeys({ABSENT!r}))  # None: importing it raises
import {CLIENTS}, align2llava.pipeline.cli
for module in align2llava.pipeline.cli.VERBS.values():
    import_module(module)
"""
    ran(sys.executable, "-c", code)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        pytest.param(
            ["train", "question", "examples/blocks/train-question.yaml"], "reward", id="train"
        ),
        pytest.param(["serve"], "services,reward,llm-cpu", id="serve"),
    ],
)
def test_a_verb_that_needs_more_than_the_driver_says_what_to_install(
    arguments: list[str], extra: str
):
    code = f"""
import sys
from align2llava.pipeline.cli import app
sys.modules.update(dict.fromkeys({ABSENT!r}))  # None: importing it raises
app({arguments!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr[-2000:]
    (line,) = done.stderr.splitlines()
    assert f"pip install 'align2llava[{extra}]'" in line


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fresh_environment_runs_the_command_line(installed: Path, tmp_path: Path):
    ran(installed / "python", "-c", f"import {CLIENTS}", cwd=tmp_path)
    assert "curate" in ran(installed / "a2l", "--help", cwd=tmp_path)
    listed = ran(sys.executable, "-m", "uv", "pip", "list", "--python", installed / "python")
    assert not set(ABSENT) & set(listed.split())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_fresh_environment_curates(installed: Path, services: Stub, tmp_path: Path, transport: str):
    """A run and what is made of it, where nothing but the base install is at hand."""
    run = tmp_path / "run"
    config = write_records(tmp_path / "world", records(60))

    def a2l(*words: object) -> None:
        ran(installed / "a2l", *words, cwd=tmp_path)

    services.script()
    a2l("validate", config, *services.sets(transport))
    a2l("curate", config, "--run-dir", run, *services.sets(transport))
    assert json.loads((run / "dataset" / "train.json").read_bytes())
    a2l("select", run, "--answer-keep", "0.3")
    a2l("report", run)
    a2l("explain", run, "0")
    a2l("export", run, "--baseline", "random")
