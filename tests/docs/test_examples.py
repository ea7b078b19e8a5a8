"""Every example of README and docs runs as printed, on real small services; or is listed with why not."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import typer.core
import typer.main

from align2llava.clients.wire.kinds import ServiceKind
from align2llava.pipeline.cli.app import app
from align2llava.pipeline.config.schema import load_config
from tests.contract.servers import ROOT, Server, server
from tests.docs.blocks import (
    NOT_RUN,
    PAGES,
    Block,
    blocks,
    options_of,
    pages_folder,
    run_blocks,
)

MODELS = ROOT / "examples" / "blocks" / "models"
_PORTS: dict[ServiceKind, tuple[int, int]] = {
    "question-reward": (3001, 50051),
    "answer-reward": (3002, 50052),
    "inner-llm": (3003, 50053),
}
_ENGINES = {"question-reward": "torch", "answer-reward": "torch", "inner-llm": "vllm"}
# Of JSON replies: what differs between two calls or machines.
_CHANGING = {"device_ms", "engine", "server_version", "identity"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Server]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                server(
                    name,
                    tmp_path_factory.mktemp(name),
                    settings={"A2L_ENGINE": _ENGINES[name], "A2L_MODEL_DIR": str(MODELS / name)},
                    timeout_s=400,
                )
            )
            for name in _PORTS
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pages_folder(tmp_path)


def with_ports(text: str, services: Mapping[str, Server]) -> str:
    """The text, but the ports are those of these services."""
    for name, (http_port, grpc_port) in _PORTS.items():
        text = text.replace(f":{http_port}", f":{services[name].http_port}")
        text = text.replace(f":{grpc_port}", f":{services[name].grpc_port}")
    return text


def ran(command: list[str], folder: Path) -> str:
    """What a command prints; it must succeed."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_block_without_a_runner_is_listed_and_no_entry_is_stale():
    listed = {
        key
        for key in NOT_RUN
        if any(b.page == key[0] and b.text.startswith(key[1]) for b in blocks())
    }
    assert listed == set(NOT_RUN)


@pytest.mark.timeout(60)  # the first call imports every verb
@pytest.mark.parametrize("block", blocks(), ids=str)
def test_every_verb_and_option_of_a_page_exists(block: Block):
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    commands = group.commands
    for verb, options in options_of(block.text):
        if verb in ("jobs", "train", "preferences", "models"):
            continue
        known = {name for parameter in commands[verb].params for name in parameter.opts}
        known |= {"--help", "--version"}
        assert set(options) <= known, f"a2l {verb}"


@pytest.mark.parametrize("block", run_blocks("json"), ids=str)
def test_json_blocks_are_json(block: Block):
    json.loads(block.text)


@pytest.mark.parametrize("block", run_blocks("yaml"), ids=str)
def test_yaml_blocks_of_readme_load_as_configs(block: Block, folder: Path):
    (folder / "curate.yaml").write_text(block.text)
    load_config(folder / "curate.yaml", environ={})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", run_blocks("python"), ids=str)
def test_python_example_runs_and_prints(block: Block, services: Mapping[str, Server], folder: Path):
    ast.parse(block.text)
    assert ran([sys.executable, "-c", with_ports(block.text, services)], folder).strip()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", run_blocks("bash"), ids=str)
def test_shell_example_answers_as_printed(
    block: Block, services: Mapping[str, Server], folder: Path
):
    out = ran(["bash", "-euc", with_ports(block.text, services)], folder)
    assert out.strip()
    assert '"error"' not in out
    printed = reply_after(block)
    if printed is not None:
        answer = json.loads(out)
        shown = answer["groups"] if isinstance(printed, list) else answer
        assert steady(shown) == steady(printed)


def reply_after(block: Block) -> object:
    """The JSON block that follows a shell block before the next one, if there is one."""
    page = (ROOT / block.page).read_text()
    after = page.partition(block.text)[2][3:].partition("```bash")[0].partition("\n## ")[0]
    found = re.search(r"^```json\n(.*?)^```$", after, re.MULTILINE | re.DOTALL)
    return json.loads(found[1]) if found else None


def steady(value: object) -> object:
    """A reply without what changes from call to call; floats to four digits."""
    if isinstance(value, dict):
        return {key: steady(one) for key, one in value.items() if key not in _CHANGING}
    if isinstance(value, list):
        return [steady(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_photographs_line_by_line(services: Mapping[str, Server], folder: Path):
    """README's way, with a few pictures of the blocks world in place of photographs."""
    (config,) = run_blocks("yaml")
    (folder / "curate.yaml").write_text(with_ports(config.text, services))
    raw = json.loads((ROOT / "examples" / "blocks" / "raw.json").read_bytes())
    (folder / "photos.json").write_text(json.dumps(raw[:40]))
    (block,) = [b for b in blocks("bash") if b.text.startswith("a2l --version")]
    for line in block.text.splitlines():
        assert ran(["bash", "-euc", line], folder).strip(), line
    assert (folder / "chosen" / "train.json").exists()
    assert (folder / "runs" / "mine" / "report" / "records.html").exists()


def test_pages_are_all_read():
    assert {"README.md", "docs/clients.md", "docs/config.md"} <= set(PAGES)
