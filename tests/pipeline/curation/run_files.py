"""Reads the files of a run directory, for tests."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq


def decisions(run_dir: Path) -> list[dict[str, Any]]:
    return pq.read_table(run_dir / "decisions.parquet").to_pylist()


def quarantine(run_dir: Path) -> dict[int, dict[str, Any]]:
    lines = [
        orjson.loads(line)
        for path in sorted((run_dir / "quarantine").glob("part-*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    by_position = {line["position"]: line for line in lines}
    assert len(by_position) == len(lines)
    return by_position


def stored_keys(run_dir: Path, stage: str) -> set[tuple[str, int, int]]:
    """Returns uid, turn and candidate of each reward; none is stored twice."""
    rows = [
        row
        for part in (run_dir / "scores" / stage).glob("part-*.parquet")
        for row in pq.read_table(part).to_pylist()
    ]
    keys = [(row["uid"], row["turn"], row["candidate"]) for row in rows]
    assert len(set(keys)) == len(keys)
    return set(keys)
