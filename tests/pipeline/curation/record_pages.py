"""Reads the browsing page's parts as its script does."""

import base64
import re
import zlib
from pathlib import Path

import orjson

from align2llava.pipeline.curation.layout import RunPaths

_SCRIPT = re.compile(rb'a2lPack\("([a-z]+-[0-9]{5})","([A-Za-z0-9+/=]*)"\)\n')


def unpacked(path: Path) -> object:
    """Every byte of a part is of this form, so that no text of a record is of a script."""
    found = _SCRIPT.fullmatch(path.read_bytes())
    assert found is not None
    assert found[1].decode() == path.stem
    return orjson.loads(zlib.decompress(base64.b64decode(found[2])))


def browsed(run: Path) -> list[dict]:
    """Returns every record of every part, in order."""
    parts = sorted(RunPaths(run).record_parts.glob("part-*.js"))
    return [one for path in parts for one in unpacked(path)]  # type: ignore[union-attr]


def index_column(run: Path, name: str) -> list[object]:
    """Returns a column of the index, names in the place of their numbers."""
    column: list[object] = []
    for path in sorted(RunPaths(run).record_parts.glob("index-*.js")):
        found = unpacked(path)[name]  # type: ignore[index]
        column += [found["names"][at] for at in found["rows"]] if "names" in found else found
    return column
