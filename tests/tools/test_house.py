"""Each rule bites on a tree that breaks it, and ours breaks none."""

from pathlib import Path

import pytest

from tools.house import MAX_MODULES, MAX_TEMPLATE_LINES, ROOT, read


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


def test_folder_in_disguise(room: Path):
    for name in ("plan", "plan_text", "plan_figures", "plan_rows"):
        (room / f"{name}.py").touch()
    assert faults(room.parent) == ["room: 4 modules begin with 'plan', over 3"]


def test_long_template(room: Path):
    (room / "page.html.j2").write_text("\n" * (MAX_TEMPLATE_LINES + 1))
    lines = MAX_TEMPLATE_LINES + 1
    assert faults(room.parent) == [f"room/page.html.j2: {lines} lines, over {MAX_TEMPLATE_LINES}"]


def test_generated_stubs_count_for_nothing(room: Path):
    for number in range(MAX_MODULES + 1):
        (room / f"m{number}_pb2.py").touch()
    assert faults(room.parent) == []


def test_ours_breaks_none():
    assert list(read(ROOT).faults()) == []
