"""What a move of code must not change, as one hash for each thing: written before it, compared after it.

    python tools/unchanged.py runs/demo > before.json
    python tools/unchanged.py runs/demo --against before.json

The run's decisions, dataset, rewards and rewrites (without times), the report that `a2l report` makes of it, help
texts, the services' OpenAPI documents and the gRPC contract. Of two runs of the demo all are equal but for the report,
which shows times: it is compared over one run.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.pipeline.cli.app import VERBS
from align2llava.services.surfaces.rest.examples import EXAMPLES
from align2llava.services.surfaces.rest.openapi import document

A2L = Path(sys.executable).with_name("a2l")
ROOT = Path(__file__).resolve().parent.parent
TIMES = ("device_ms",)
GROUPS = {"train": ("question", "answer"), "jobs": ("submit", "wait", "logs", "list", "delete")}


def hashes(run_dir: Path) -> Iterator[tuple[str, str]]:
    """Yields the name and the hash of each thing."""
    for verb in VERBS:
        for words in ((verb,), *((verb, name) for name in GROUPS.get(verb, ()))):
            yield f"a2l {' '.join(words)} --help", _hash(_said(*words, "--help"))
    for kind in EXAMPLES:
        yield f"OpenAPI of {kind}", _hash(json.dumps(document(kind, description="")).encode())
    yield "gRPC contract", _hash(pb.DESCRIPTOR.serialized_pb)
    yield "decisions.parquet", _hash((run_dir / "decisions.parquet").read_bytes())
    yield from _files(run_dir, "dataset")
    for table in ("scores/question", "scores/answer", "rewrites"):
        yield table, _hash(_rows(run_dir / table))
    yield from _report(run_dir)


def _report(run_dir: Path) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run_dir, copy)
        _said("report", str(copy))
        yield from _files(copy, "report")
    record = pl.read_parquet(run_dir / "decisions.parquet")["uid"][0]
    yield "a2l explain", _hash(_said("explain", str(run_dir), record))
    yield "a2l diff", _hash(_said("diff", str(run_dir), str(run_dir)))


def _files(root: Path, folder: str) -> Iterator[tuple[str, str]]:
    for path in sorted((root / folder).rglob("*")):
        if path.is_file():
            yield path.relative_to(root).as_posix(), _hash(path.read_bytes())


def _rows(folder: Path) -> bytes:
    """Returns the rows of the parts of a folder, in an order of their own, without times."""
    rows = pl.read_parquet(sorted(folder.glob("part-*.parquet"))).drop(TIMES, strict=False)
    keys = [name for name, kind in rows.schema.items() if not kind.is_nested()]
    return rows.sort(keys).write_json().encode()


def _said(*words: str) -> bytes:
    environ = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run([A2L, *words], capture_output=True, cwd=ROOT, env=environ, check=False)
    if done.returncode != 0:
        sys.exit(f"a2l {' '.join(words)}: {done.stderr.decode()}")
    return done.stdout


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def main() -> None:
    """Prints the hashes, or what differs from others; exits 1 where anything does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--against", type=Path, metavar="BEFORE.json")
    words = parser.parse_args()
    after = dict(hashes(words.run_dir.resolve()))
    if words.against is None:
        print(json.dumps(after, indent=1))
        return
    before = json.loads(words.against.read_text())
    differing = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    print(f"{len(after)} things, {len(differing)} differ")
    print("\n".join(differing), end="\n" if differing else "")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
