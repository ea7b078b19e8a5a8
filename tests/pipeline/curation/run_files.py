"""Reads the files of a run directory, for tests."""

from pathlib import Path

import orjson
import pyarrow.parquet as pq


def decisions(run_dir: Path) -> list[dict[str, object]]:
    return pq.read_table(run_dir / "decisions.parquet").to_pylist()


def quarantine(run_dir: Path) -> dict[int, dict[str, object]]:
    lines = [
        orjson.loads(line)
        for path in sorted((run_dir / "quarantine").glob("part-*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    by_position = {line["position"]: line for line in lines}
    assert len(by_position) == len(lines)
    return by_position
