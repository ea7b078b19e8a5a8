"""The values of a config before they are checked: one source over the other, and who gave what.

Knows no setting. A fault is told with its source: the file, a variable, or a `--set`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from align2llava.pipeline.yaml_text import yaml_value


@dataclass(frozen=True, slots=True)
class Given:
    """The values from everywhere, one over the other, and which source gave or began what."""

    tree: dict[str, object]
    sources: dict[tuple[str, ...], str]

    def put(self, keys: Sequence[str], text: str, *, source: str) -> None:
        """Takes the value that `source` gives a key, as YAML.

        Raises:
            ConfigError: it is no YAML.
        """
        *folders, last = keys
        node = self.tree
        for depth, key in enumerate(folders, start=1):
            below = node.get(key)
            if not isinstance(below, dict):
                below = {}
                node[key] = below
                self.sources[tuple(keys[:depth])] = source
            node = below
        node[last] = yaml_value(text, source=source)
        self.sources[tuple(keys)] = source

    def message(self, error: ValidationError, path: Path) -> str:
        """Returns the first fault as one line: who gave the value, its key, what is wrong."""
        details = error.errors(include_url=False)
        unknown = [detail for detail in details if detail["type"] == "extra_forbidden"]
        # Of alternatives (a share, or a map of shares) the one that got farthest was meant.
        detail = max(unknown or details, key=lambda one: len(self._place(one)[0]))
        place, found = self._place(detail)
        starts = [place[:length] for length in range(len(place), 0, -1)]
        source = next((self.sources[one] for one in starts if one in self.sources), str(path))
        message = "unknown key" if unknown else detail["msg"].removeprefix("Value error, ")
        shown = isinstance(found, str | Decimal | int | float) and not unknown
        message += f"; found {str(found)!r:.80}" if shown else ""
        return ": ".join(part for part in (source, ".".join(place), message) if part)

    def _place(self, detail: ErrorDetails) -> tuple[tuple[str, ...], object]:
        """Returns the keys of a fault, without pydantic's names of alternatives, and the value there."""
        place: list[str] = []
        node: object = self.tree
        for part in detail["loc"]:
            below = _below(node, part)
            if below is not _NOTHING or (detail["type"] == "missing" and part == detail["loc"][-1]):
                node = below
                place.append(str(part))
        return tuple(place), node


def _below(node: object, part: int | str) -> object:
    if isinstance(node, dict):
        found: dict[object, object] = node
        return found.get(part, _NOTHING)
    if isinstance(node, list) and isinstance(part, int):
        values: list[object] = node
        return values[part]
    return _NOTHING


_NOTHING = object()
