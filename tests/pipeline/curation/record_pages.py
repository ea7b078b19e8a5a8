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
    records: list[dict] = []
    starts = index_column(run, "uid")
    for path in sorted(RunPaths(run).record_parts.glob("part-*.js")):
        part: dict = unpacked(path)  # type: ignore[assignment]
        for at, texts in enumerate(part["texts"]):
            one = {"position": len(records), "id": part["id"][at], **texts}
            rest = part["uid"][at]
            one["uid"] = None if rest is None else f"{starts[len(records)]}{rest}"
            for stage in ("question", "answer"):
                standing = [part[f"{stage}_{name}"][at] for name in ("reward", "rank", "cut")]
                if standing[1] is not None:
                    one[stage] = standing
            records.append(one)
    return records


def index_column(run: Path, name: str) -> list[object]:
    """Returns a column of the index, names in the place of their numbers."""
    column: list[object] = []
    for path in sorted(RunPaths(run).record_parts.glob("index-*.js")):
        found = unpacked(path)[name]  # type: ignore[index]
        column += [found["names"][at] for at in found["rows"]] if "names" in found else found
    return column
