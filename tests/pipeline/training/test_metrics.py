import json

import pytest

from align2llava.pipeline.errors import StoreError
from align2llava.pipeline.training.metrics import MetricsFile


def steps(path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_are_appended_in_order(tmp_path):
    metrics = MetricsFile(tmp_path / "work" / "metrics.jsonl", from_step=0)
    metrics.append(0, {"loss": 0.5})
    metrics.append(1, {"loss": 0.25})
    lines = (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 0, "loss": 0.5},
        {"step": 1, "loss": 0.25},
    ]


def test_a_resumed_training_forgets_what_lies_after_its_snapshot(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"st')
    MetricsFile(path, from_step=2).append(2, {})
    assert steps(path) == [0, 1, 2]


def test_a_disk_that_refuses_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        MetricsFile(tmp_path / "file" / "metrics.jsonl", from_step=0)
