"""YAML as the product reads it: safe, each key once, whatever the text is. Knows no config.

A key that stands twice is refused, as the YAML specification says: PyYAML alone takes the last one.
"""

from collections.abc import Hashable
from decimal import Decimal

import yaml
from yaml.nodes import MappingNode, ScalarNode

from align2llava.pipeline.errors import ConfigError

# What PyYAML raises besides its own: for depth, and where a tag's text does not fit (`!!bool x`).
_ERRORS = (yaml.YAMLError, ValueError, KeyError, AttributeError)


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002 - PyYAML's
        """Returns the mapping of a node.

        Raises:
            yaml.YAMLError: a key stands twice, or is no scalar.
        """
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    words = (
                        f"{key.value!r:.80} stands in line {lines[name]} and again in line {line}"
                    )
                    raise yaml.YAMLError(words)
                lines[name] = line
        return super().construct_mapping(node, deep=deep)


class DecimalLoader(StrictLoader):
    """Reads numbers with a point as decimals."""


def _decimal(loader: yaml.SafeLoader, node: ScalarNode) -> object:
    text = str(node.value).replace("_", "")
    try:
        return Decimal(text)
    except ArithmeticError:
        return loader.construct_yaml_float(node)  # .inf, .nan: refused by the fields


DecimalLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


def yaml_value(
    text: str | bytes, *, source: str, loader: type[StrictLoader] = StrictLoader
) -> object:
    """Returns what a text of one document says; `source` begins the message of an error.

    Raises:
        ConfigError: it is no YAML, or a key stands twice.
    """
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader
    except RecursionError as error:
        raise ConfigError(f"{source}: no YAML: nested too deeply") from error
    except _ERRORS as error:
        raise ConfigError(f"{source}: no YAML: {_line(error)}") from error


def yaml_documents(text: str, *, source: str) -> list[object]:
    """Returns what each document of a text says; `source` begins the message of an error.

    Raises:
        ConfigError: as `yaml_value`.
    """
    try:
        return list(yaml.load_all(text, Loader=StrictLoader))
    except RecursionError as error:
        raise ConfigError(f"{source}: no YAML: nested too deeply") from error
    except _ERRORS as error:
        raise ConfigError(f"{source}: no YAML: {_line(error)}") from error


def _line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return (
        words if isinstance(error, yaml.YAMLError | ValueError) else f"a tag does not fit: {words}"
    )
