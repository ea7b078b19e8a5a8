"""Each rule bites on a tree that breaks it, and ours breaks none."""

from pathlib import Path

import pytest

from tools.house import MAX_FUNCTION_LINES, MAX_LINES, MAX_MODULES, MAX_TEMPLATE_LINES, ROOT, read


def faults(root: Path) -> list[str]:
    return list(read(root, ["room"]).faults())


@pytest.fixture
def room(tmp_path: Path) -> Path:
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A room."""\n')
    (folder / "module.py").write_text("x = 1\n")
    return folder


def test_tree_that_keeps_the_rules_has_no_faults(room: Path):
    assert faults(room.parent) == []


def test_too_many_modules(room: Path):
    for number in range(MAX_MODULES):
        (room / f"m{number}.py").touch()
    assert faults(room.parent) == [f"room: {MAX_MODULES + 1} modules, over {MAX_MODULES}"]


def test_door_without_a_plate(room: Path):
    (room / "__init__.py").write_text("")
    assert faults(room.parent) == ["room: its __init__.py does not say what it is"]


def test_folder_without_a_door(room: Path):
    (room / "inner").mkdir()
    (room / "inner" / "module.py").touch()
    assert faults(room.parent) == ["room/inner: its __init__.py does not say what it is"]


def test_folder_in_disguise(room: Path):
    for name in ("plan", "plan_text", "plan_figures", "plan_rows"):
        (room / f"{name}.py").touch()
    assert faults(room.parent) == ["room: 4 modules begin with 'plan', over 3"]


@pytest.mark.parametrize(
    ("name", "limit"), [("module.py", MAX_LINES), ("page.html.j2", MAX_TEMPLATE_LINES)]
)
def test_long_file(room: Path, name: str, limit: int):
    (room / name).write_text("\n" * (limit + 1))
    assert faults(room.parent) == [f"room/{name}: {limit + 1} lines, over {limit}"]


def test_long_function(room: Path):
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    (room / "module.py").write_text(f"def long():\n{body}")
    lines = MAX_FUNCTION_LINES + 1
    assert faults(room.parent) == [
        f"room/module.py:1 long: {lines} lines, over {MAX_FUNCTION_LINES}"
    ]


def test_generated_stubs_count_for_nothing(room: Path):
    (room / "made_pb2.py").write_text("\n" * (MAX_LINES + 1))
    assert faults(room.parent) == []


def test_ours_breaks_none():
    assert list(read(ROOT).faults()) == []
