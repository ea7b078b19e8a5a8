"""The base install is the driver: it works without torch, bentoml, vllm and transformers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.scripted_runs import Stub, environ, records, stub, write_records

ROOT = Path(__file__).resolve().parent.parent
ABSENT = ("torch", "bentoml", "vllm", "transformers", "numpy")
UV = (sys.executable, "-m", "uv")
CLIENTS = ", ".join(
    f"align2llava.clients.{name}"
    for name in ("api", "transport.connect", "transport.rest", "transport.rpc")
)


def ran(*command: object, cwd: Path = ROOT) -> str:
    """Returns what a command printed that ended well, with nothing of this checkout on its path."""
    variables = {k: v for k, v in environ().items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def interpreter(version: str) -> str:
    """Returns a Python of this version: ours, one on the PATH, or one that uv or pyenv knows.

    A name on the PATH may be a shim of pyenv that starts nothing, so each is asked what it is.
    """
    root = os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")
    known = sorted(str(path) for path in Path(root).glob(f"versions/{version}.*/bin/python"))
    flags = ("--system", "--offline", "--no-python-downloads")
    found = subprocess.run(
        [*UV, "python", "find", *flags, version],
        capture_output=True,
        text=True,
        check=False,
    )
    for one in (sys.executable, f"python{version}", *found.stdout.split(), *known):
        if _version(one) == version:
            return one
    pytest.skip(f"no Python {version} here: the base install is not tried on it")


def _version(python: str) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


@pytest.fixture(scope="module", params=["3.11", "3.13"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands that a wheel gives, over the lock of the base install, on a Python."""
    python = interpreter(request.param)
    folder = tmp_path_factory.mktemp("fresh")
    ran(*UV, "venv", "--python", python, folder / "venv")
    install = (*UV, "pip", "install", "--python", folder / "venv" / "bin" / "python")
    ran(*install, "--require-hashes", "-r", "requirements/driver.lock")
    ran(*UV, "build", "--wheel", "--out-dir", folder, ROOT)
    ran(*install, "--no-deps", *folder.glob("*.whl"))
    assert _version(str(folder / "venv" / "bin" / "python")) == request.param
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with stub(tmp_path_factory.mktemp("stub")) as running:
        yield running


def test_driver_and_clients_import_nothing_heavy():
    code = f"""
import sys
from importlib import import_module
sys.modules.update(dict.fromkeys({ABSENT!r}))  # None: importing it raises
import {CLIENTS}, align2llava.pipeline.cli.app
for module in align2llava.pipeline.cli.app.VERBS.values():
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
from align2llava.pipeline.cli.app import app
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
    assert ran(installed / "a2l", "--version", cwd=tmp_path).startswith("a2l ")
    assert "curate" in ran(installed / "a2l", "--help", cwd=tmp_path)
    listed = ran(*UV, "pip", "list", "--python", installed / "python")
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
