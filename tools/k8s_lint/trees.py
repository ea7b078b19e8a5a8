"""Typed look-ups in parsed YAML. What is absent is empty: a rule says what is missing in its own words."""

from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Table: TypeAlias = dict[str, "Json"]

_UNITS = {
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
    "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3,
}  # fmt: skip


def at(tree: Json, *path: str) -> Json:
    """Returns what lies under the keys, or None."""
    for key in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def table(tree: Json, *path: str) -> Table:
    """Returns the mapping under the keys, or an empty one."""
    found = at(tree, *path)
    return found if isinstance(found, dict) else {}


def rows(tree: Json, *path: str) -> list[Table]:
    """Returns the mappings of the list under the keys."""
    found = at(tree, *path)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def texts(tree: Json, *path: str) -> list[str]:
    """Returns the texts of the list under the keys."""
    found = at(tree, *path)
    return [row for row in found if isinstance(row, str)] if isinstance(found, list) else []


def text(tree: Json, *path: str) -> str:
    """Returns the scalar under the keys as text, or an empty one."""
    found = at(tree, *path)
    return str(found) if isinstance(found, str | int) else ""


def number(tree: Json, *path: str) -> int:
    """Returns the integer under the keys, or 0."""
    found = at(tree, *path)
    return found if isinstance(found, int) else 0


def quantity(written: str) -> float:
    """Returns a Kubernetes quantity such as `500m`, `32Gi` or `1` as a number; 0 for an empty text."""
    for unit, factor in _UNITS.items():
        if written.endswith(unit):
            return float(written.removesuffix(unit)) * factor
    return float(written or 0)
