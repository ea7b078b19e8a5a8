"""The documentation names what exists: settings, config keys, make targets, runnable examples."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from align2llava.pipeline.config.schema import Config, EndpointConfig
from align2llava.services.settings import Settings, variable_of

ROOT = Path(__file__).resolve().parent.parent


def page(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("field", [name for name in Settings.model_fields if name != "kind"])
def test_every_service_setting_is_documented_with_its_default(field: str):
    default = Settings.model_fields[field].get_default()
    row = re.search(
        rf"^\| `{variable_of(field)}` \| (.*?) \|", page("docs/services.md"), re.MULTILINE
    )
    assert row is not None
    if isinstance(default, Path):
        assert row[1] == "unset"
    elif Settings.model_fields[field].is_required():
        assert row[1] == "by service"
    else:
        assert row[1] == str(default)


def config_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and prefix.count(".") < 1:
            keys += config_keys(inner, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


@pytest.mark.parametrize("key", config_keys(Config))
def test_every_config_key_is_documented(key: str):
    assert f"`{key}`" in page("docs/config.md")


@pytest.mark.parametrize("name", [n for n in EndpointConfig.model_fields if n != "url"])
def test_every_endpoint_key_is_documented(name: str):
    assert f".{name}`" in page("docs/config.md")


def test_every_make_target_the_pages_name_exists():
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    pages = [
        page(n) for n in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/decisions.md")
    ]
    named = {
        t
        for text in pages
        for t in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", text, re.MULTILINE)
    }
    assert {a or b for a, b in named} <= targets


@pytest.mark.parametrize(
    "block",
    [
        block
        for block in re.findall(r"```python\n(.*?)```", page("docs/clients.md"), re.DOTALL)
        if "import bentoml" not in block  # run by tests/contract/test_foreign_clients.py
    ],
)
def test_examples_of_the_clients_page_compile_in_ten_lines(block: str):
    loops = [node for node in ast.parse(block).body if isinstance(node, ast.AsyncFunctionDef)]
    assert len(loops) == (0 if "blocking_reward" in block else 1)
    imports = [n for n in ast.parse(block).body if isinstance(n, ast.Import | ast.ImportFrom)]
    exec("\n".join(ast.unparse(node) for node in imports), {})
    body = [line for line in block.splitlines() if line.strip() and "import" not in line]
    assert len(body) <= 10


def test_links_between_pages_lead_somewhere():
    for name in ("README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\((?!http)([^)#]+)", page(name)):
            assert (ROOT / name).parent.joinpath(link).exists(), f"{name}: {link}"


def long_lines(text: str) -> list[str]:
    """Lines of prose that do not fit on a screen; code and tables are what they are."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")]


PAGES = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "docs", "k8s", "examples/blocks")
    for path in (ROOT / folder).glob("*.md")
)


@pytest.mark.parametrize("name", PAGES)
def test_prose_fits_on_a_screen(name: str):
    assert long_lines(page(name)) == []


def test_a_long_line_is_found_outside_of_code_alone():
    long = "word " * 30
    assert long_lines(f"short\n{long}\n| {long}\n```\n{long}\n```\n") == [long]
