"""A config of any schema: one YAML, environment and `--set` over it, checked once. Knows no setting.

Relative paths, wherever they were given, are relative to the file's folder. Numbers with a point are read as
decimals, never as binary floats.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from align2llava.pipeline.config.sources import Given
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.yaml_text import yaml_value

ENV_PREFIX = "A2L__"

Checked = TypeVar("Checked", bound=BaseModel)


def read_config(
    path: Path,
    schema: type[Checked],
    *,
    variables: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
) -> Checked:
    """Returns the config of a file, with every path absolute.

    Over the file stand `variables`, `A2L__RUN__SEED` for `run.seed`, and over them `sets`, each `a.b=value`.

    Raises:
        ConfigError: no such file, no YAML, an unknown key or name, or a value out of range.
    """
    given = Given(_read_tree(path), {})
    for name, value in sorted((variables or {}).items()):
        keys = [key.lower() for key in name.removeprefix(ENV_PREFIX).split("__")]
        given.put(keys, value, source=name)
    for entry in sets:
        dotted, equals, value = entry.partition("=")
        if not equals:
            raise ConfigError(f"--set {entry}: write it as a.b=value")
        given.put(dotted.split("."), value, source=f"--set {entry}")
    try:
        config = schema.model_validate(given.tree)
    except ValidationError as error:
        raise ConfigError(given.message(error, path)) from error
    return schema.model_validate(_absolute(config.model_dump(), path.resolve().parent))


def _read_tree(path: Path) -> dict[str, object]:
    source = f"config {path}"
    try:
        tree = yaml_value(path.read_bytes(), source=source)
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{source}: a mapping is needed at the top level, found {type(tree).__name__}"
        )
    return tree


def _absolute(node: object, folder: Path) -> object:
    if isinstance(node, Path):
        return Path(os.path.normpath(folder / node))  # keeps links: they may be swapped on purpose
    if isinstance(node, dict):
        return {key: _absolute(value, folder) for key, value in node.items()}
    if isinstance(node, list):
        return [_absolute(value, folder) for value in node]
    return node
