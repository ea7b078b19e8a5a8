"""The whole product: three real services with the committed checkpoints curate 200 records.

The same seed and input give the same dataset byte for byte: again, over the other transport, and
after `kill -9` of the driver at every stage.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.serving.services import Serving, serving
from tests.contract.servers import ROOT, Transport, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BLOCKS = ROOT / "examples" / "blocks"
NUM_RECORDS = 200
SECTIONS = ("question_reward", "answer_reward", "inner_llm")


def clean_environ() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("A2L_", "BENTOML_"))}


@pytest.fixture(scope="module")
def live() -> Iterator[Serving]:
    """Three services on free ports; the ports of each transport follow one another."""
    http_port, grpc_port = free_port() % 20_000 + 20_000, free_port() % 20_000 + 40_000
    with serving(
        BLOCKS / "models", http_port=http_port, grpc_port=grpc_port, environ=clean_environ()
    ) as running:
        yield running


def arguments(live: Serving, run: Path, *, transport: Transport = "grpc") -> list[str]:
    urls = [s.grpc_url if transport == "grpc" else s.http_url for s in live.services]
    sets = [f"endpoints.{name}.url={url}" for name, url in zip(SECTIONS, urls, strict=True)]
    return [
        str(Path(sys.executable).with_name("a2l")),
        *("curate", str(BLOCKS / "curate.yaml"), "--run-dir", str(run)),
        *("--limit", str(NUM_RECORDS), "--json"),
        *(word for one in sets for word in ("--set", one)),
    ]


def curated(command: list[str]) -> None:
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)


def dataset(run: Path) -> bytes:
    return (run / "dataset" / "train.json").read_bytes()


@pytest.fixture(scope="module")
def first(live: Serving, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("first") / "run"
    curated(arguments(live, run))
    return run


def test_every_record_is_decided_and_the_sums_hold(first: Path):
    decisions = pq.read_table(first / "decisions.parquet").to_pylist()
    assert len(decisions) == NUM_RECORDS
    counts = json.loads((first / "manifest.json").read_text())["counts"]
    assert sum(c["input"] for c in counts.values()) == NUM_RECORDS
    for name, count in counts.items():
        assert count["input"] == count["kept"] + count["dropped"] + count["quarantined"], name
        kept = [d for d in decisions if d["type"] == name and d["decision"] == "kept"]
        assert len(kept) == count["kept"]


def test_about_nine_in_a_hundred_are_kept(first: Path):
    records = json.loads(dataset(first))
    assert 0.06 * NUM_RECORDS <= len(records) <= 0.12 * NUM_RECORDS


def test_rewards_come_from_the_models_and_differ(first: Path):
    for stage in ("question", "answer"):
        table = pq.read_table(first / "scores" / stage)
        rewards = table.column("reward").to_pylist()
        assert len(set(rewards)) > len(rewards) / 4
        assert len(set(table.column("identity").to_pylist())) == 1


def test_ledger_holds_every_kept_turn(first: Path):
    turns = sum(len(record["conversations"]) // 2 for record in json.loads(dataset(first)))
    ledger = pq.read_table(first / "rewrites").to_pylist()
    assert len({(row["uid"], row["turn"]) for row in ledger}) == turns
    assert all(row["original_answer"] for row in ledger)


def test_report_and_card_are_written(first: Path):
    assert "<html" in (first / "report" / "index.html").read_text()[:200]
    assert json.loads((first / "report" / "report.json").read_text())
    assert (first / "dataset" / "README.md").read_text()


def test_smallest_gap_at_the_cut_is_told(first: Path, capsys: pytest.CaptureFixture[str]):
    rows = pq.read_table(first / "decisions.parquet").to_pylist()
    with capsys.disabled():
        for stage in ("question", "answer"):
            gaps = {
                name: gap_at_cut([r for r in rows if r["type"] == name], stage)
                for name in sorted({row["type"] for row in rows})
            }
            print(f"\nsmallest reward gap at the {stage} cut: {gaps}")


def gap_at_cut(rows: list[dict[str, Any]], stage: str) -> float | None:
    by_rank = {row[f"{stage}_rank"]: row for row in rows if row[f"{stage}_rank"] is not None}
    cut = next(iter(by_rank.values()))[f"{stage}_cut"] if by_rank else 0
    if not 0 < cut < len(by_rank):
        return None
    return by_rank[cut][f"{stage}_reward"] - by_rank[cut + 1][f"{stage}_reward"]


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_same_seed_gives_the_same_bytes(
    live: Serving, first: Path, tmp_path: Path, transport: Transport
):
    run = tmp_path / "run"
    curated(arguments(live, run, transport=transport))
    assert dataset(run) == dataset(first)


@pytest.mark.parametrize("part", ["scores/question", "scores/answer", "rewrites"])
def test_killed_run_resumes_to_the_same_bytes(
    live: Serving, first: Path, tmp_path: Path, part: str
):
    run = tmp_path / "run"
    command = arguments(live, run)
    driver = subprocess.Popen(
        command, cwd=ROOT, env=clean_environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 300
    while not list((run / part).glob("part-*")) and driver.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (run / "manifest.json").exists(), "the run ended before it could be killed"
    before = {p: p.read_bytes() for p in (run / part).glob("part-*")}
    curated([*command, "--resume", "always"])
    assert dataset(run) == dataset(first)
    assert all(path.read_bytes() == data for path, data in before.items())
