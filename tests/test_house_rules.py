"""The house rules a machine can hold: lengths, names, mirrored tests, and where packages come from."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from importlib import import_module
from inspect import isclass
from pathlib import Path

import pytest
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("clients", "services", "pipeline")
SOURCES = (*PACKAGES, "examples", "tools", "benchmarks")
BANNED_STEMS = {"utils", "util", "common", "helpers", "misc", "base", "manager"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40


def python_files(*folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if not path.name.startswith("align2llava_pb2")
    )


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the function without its decorators and docstring."""
    start = node.body[0].lineno
    if ast.get_docstring(node) is not None and len(node.body) > 1:
        start = node.body[1].lineno
    signature = node.body[0].lineno - node.lineno
    assert node.end_lineno is not None
    return signature + node.end_lineno - start + 1


def test_no_file_is_over_the_limit():
    files = python_files(*SOURCES, "tests")
    assert len(files) > 20
    long = {str(p): n for p in files if (n := len(p.read_text().splitlines())) > MAX_FILE_LINES}
    assert not long


def test_no_function_is_over_the_limit():
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": code_lines(node)
        for path in python_files(*SOURCES)
        for node in functions(path)
        if code_lines(node) > MAX_FUNCTION_LINES
    }
    assert not long


def test_names_say_what_is_inside():
    assert not [p for p in python_files(*SOURCES) if p.stem in BANNED_STEMS]


def test_every_module_says_what_it_is():
    silent = [p for p in python_files(*SOURCES) if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not silent


def test_source_is_ascii():
    strange = [p for p in python_files(*SOURCES) if not p.read_text().isascii()]
    assert not strange


def test_tests_mirror_the_source():
    """A test file under a mirrored folder names a module (or a package) of the same place."""
    strays: list[str] = []
    for path in python_files("tests"):
        relative = path.relative_to(ROOT / "tests")
        if relative.parts[0] not in (*PACKAGES, "examples", "tools", "benchmarks"):
            continue
        if not path.name.startswith("test_"):
            continue
        source = ROOT / relative.parent / path.name.removeprefix("test_")
        if not source.exists() and not source.with_suffix("").is_dir():
            strays.append(str(relative))
    assert not strays


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_come_from_this_checkout(package: str):
    module = importlib.import_module(f"align2llava.{package}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve().parent == ROOT / package


def test_no_path_of_one_machine_is_tracked():
    """Assembled from pieces, so that this file does not find itself."""
    pattern = "/" + "(work|root|opt)/" + "[a-z]"
    found = subprocess.run(
        ["git", "grep", "-nE", pattern, "--", ".", ":!*.lock", ":!k8s"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in (0, 1), found.stderr
    assert not found.stdout


def test_what_is_printed_goes_through_the_screen():
    """`pipeline/screen.py` cleans it; workers speak in bytes on their pipes, bars are drawn by rich."""
    pattern = re.compile(r"\bprint\(|typer\.echo|secho|sys\.(stdout|stderr)\.write|\brprint\b")
    found = [
        str(path.relative_to(ROOT))
        for path in python_files("pipeline")
        if path.name != "screen.py" and pattern.search(path.read_text())
    ]
    assert not found


def names_read(sources: Iterable[str]) -> set[str]:
    """The attributes that some code reads."""
    trees = (ast.parse(source) for source in sources)
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.mark.parametrize(
    "module",
    [
        "align2llava.services.settings",
        "align2llava.pipeline.config.schema",
        "align2llava.pipeline.training.config",
    ],
)
def test_every_setting_is_read(module: str):
    read = names_read(path.read_text() for name in PACKAGES for path in python_files(name))
    sections = [
        one
        for one in vars(import_module(module)).values()
        if isclass(one) and issubclass(one, BaseModel) and one.__module__ == module
    ]
    fields = {f"{one.__name__}.{field}" for one in sections for field in one.model_fields}
    assert fields
    assert [field for field in sorted(fields) if field.partition(".")[2] not in read] == []


def test_a_setting_that_is_only_set_is_not_read():
    assert names_read(["config.seed = 1", "print(config.limit)"]) == {"limit"}
