"""YAML as the product reads it: safe, each key once, bounded, whatever the text is. Knows no config.

A key that stands twice is refused, as the YAML specification says: PyYAML alone takes the last one.
So is what is small to read and large to hold or to write: aliases of aliases, numbers of any length.
"""

import re
from collections.abc import Hashable
from decimal import Decimal

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from align2llava.pipeline.errors import ConfigError

MAX_VALUES = 100_000  # in one document, each alias counted as what it stands for
_INTEGERS = range(-(2**63), 2**64)
_MAX_DEPTH = 200  # brackets that are open at once
_BRACKETS = re.compile(rb"[\[\]{}]")
MAX_DIGITS = 400  # of a number with a point, zeros before and behind included

# What PyYAML raises besides its own: for depth, and where a tag's text does not fit (`!!bool x`).
_ERRORS = (yaml.YAMLError, ValueError, KeyError, AttributeError)


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that stands twice, and what grows when it is read."""

    def construct_document(self, node: Node) -> object:
        """Returns what a document says.

        Raises:
            yaml.YAMLError: as `construct_mapping`; it stands for more than `MAX_VALUES` values.
        """
        if _num_values(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"with its aliases it has more than {MAX_VALUES:,} values")
        return super().construct_document(node)

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


def _num_values(node: Node, known: dict[Node, int]) -> int:
    """Returns how many values a node stands for; one that holds itself, more than any bound."""
    if isinstance(node, ScalarNode):
        return 1
    if node not in known:
        known[node] = MAX_VALUES + 1  # of an alias inside itself
        inner: list[Node] = (
            [one for pair in node.value for one in pair]
            if isinstance(node, MappingNode)
            else node.value
            if isinstance(node, SequenceNode)
            else []
        )
        known[node] = 1 + sum(_num_values(one, known) for one in inner)
    return known[node]


def _integer(loader: yaml.SafeLoader, node: ScalarNode) -> int:
    number = loader.construct_yaml_int(node)
    if number not in _INTEGERS:
        raise yaml.YAMLError(f"the integer {node.value[:20]}... has more than 64 bits")
    return number


StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)


class DecimalLoader(StrictLoader):
    """Reads numbers with a point as decimals."""


def _decimal(loader: yaml.SafeLoader, node: ScalarNode) -> object:
    text = str(node.value).replace("_", "")
    try:
        number = Decimal(text)
    except ArithmeticError:
        return loader.construct_yaml_float(node)  # .inf, .nan: refused by the fields
    if not is_bounded(number):
        raise yaml.YAMLError(f"the number {text:.20}... has more than {MAX_DIGITS} digits")
    return number


def is_bounded(number: Decimal) -> bool:
    """Whether a number, written without an exponent, is as long as a reader could have meant."""
    _, digits, exponent = number.as_tuple()
    return not isinstance(exponent, int) or max(abs(exponent), len(digits)) <= MAX_DIGITS


DecimalLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


def _refuse_deep(text: str | bytes, source: str) -> None:
    """Refuses brackets in brackets that PyYAML would take seconds to give up on; quotes are not minded."""
    depth = 0
    for bracket in _BRACKETS.findall(
        text.encode(errors="surrogatepass") if isinstance(text, str) else text
    ):
        depth += 1 if bracket in b"[{" else -1
        if depth > _MAX_DEPTH:
            raise ConfigError(f"{source}: no YAML: nested too deeply")


def yaml_value(text: str | bytes, *, source: str) -> object:
    """Returns what a text of one document says, numbers with a point as decimals; `source` begins an error's message.

    Raises:
        ConfigError: it is no YAML, or a key stands twice.
    """
    _refuse_deep(text, source)
    try:
        return yaml.load(text, Loader=DecimalLoader)  # noqa: S506 - a safe loader
    except RecursionError as error:
        raise ConfigError(f"{source}: no YAML: nested too deeply") from error
    except _ERRORS as error:
        raise ConfigError(f"{source}: no YAML: {_line(error)}") from error


def yaml_documents(text: str, *, source: str) -> list[object]:
    """Returns what each document of a text says; `source` begins the message of an error.

    Raises:
        ConfigError: as `yaml_value`.
    """
    _refuse_deep(text, source)
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
