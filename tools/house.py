"""What no import contract holds of the rooms: `python tools/house.py`, a part of `make lint`.

A folder holds at most 13 modules; more than three with one first word are a folder in disguise; no template is over
450 lines. Prints the figures, and exits 1 where a rule is broken. What is held of each file stands in
`tests/test_house_rules.py`.
"""

import argparse
import ast
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("clients", "services", "pipeline")
MAX_MODULES = 13
MAX_ALIKE = 3
# Longer than a module may be: the parts of a page belong together.
MAX_TEMPLATE_LINES = 450
_MADE = ("_pb2.py", "_pb2_grpc.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The modules of each folder, the lines of each template, and those of every function."""

    modules: Mapping[str, Sequence[str]]
    template_lines: Mapping[str, int]
    function_lines: Sequence[int]

    def faults(self) -> Iterator[str]:
        """Yields each broken rule with its place, its figure and the limit."""
        for folder in self.modules:
            yield from self._folder_faults(folder)
        for path, lines in self.template_lines.items():
            if lines > MAX_TEMPLATE_LINES:
                yield f"{path}: {lines} lines, over {MAX_TEMPLATE_LINES}"

    def _folder_faults(self, folder: str) -> Iterator[str]:
        names = self.modules[folder]
        if len(names) > MAX_MODULES:
            yield f"{folder}: {len(names)} modules, over {MAX_MODULES}"
        for word, number in Counter(name.split("_")[0] for name in names).items():
            if number > MAX_ALIKE:
                yield f"{folder}: {number} modules begin with {word!r}, over {MAX_ALIKE}"

    def figures(self) -> dict[str, float]:
        """Returns how large rooms and functions are."""
        lines = sorted(self.function_lines)
        return {
            "rooms": len(self.modules),
            "modules": sum(map(len, self.modules.values())),
            "most modules in a room": max(map(len, self.modules.values())),
            "function lines, median": median(lines),
            "function lines, p90": quantiles(lines, n=10)[-1],
            "function lines, most": lines[-1],
        }


def read(root: Path, rooms: Sequence[str] = ROOMS) -> House:
    """Returns what stands below the rooms of a tree."""
    modules: dict[str, list[str]] = {}
    template_lines: dict[str, int] = {}
    function_lines: list[int] = []
    files = (path for room in rooms for path in sorted((root / room).rglob("*")) if path.is_file())
    for path in files:
        name, folder = path.relative_to(root).as_posix(), path.parent.relative_to(root).as_posix()
        if path.suffix in (".j2", ".js", ".css"):
            template_lines[name] = path.read_text().count("\n")
        if path.suffix != ".py" or path.name.endswith(_MADE):
            continue
        if path.name != "__init__.py":
            modules.setdefault(folder, []).append(path.stem)
        function_lines += [
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
    return House(modules=modules, template_lines=template_lines, function_lines=function_lines)


def main() -> None:
    """Prints figures and faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object")
    house = read(ROOT)
    figures = house.figures()
    if parser.parse_args().json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value:g}" for name, value in figures.items()))
    faults = list(house.faults())
    print("\n".join(faults), end="\n" if faults else "", file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
