from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.store import RewardRow, RewardStore
from pipeline.errors import EndpointError, RunError, StoreError


def row(uid: str, reward: float, *, identity: str = "a") -> RewardRow:
    return RewardRow(
        uid=uid,
        turn=0,
        candidate=0,
        reward=reward,
        identity=identity,
        num_tokens=5,
        truncated=False,
        device_ms=1.5,
    )


def test_committed_rewards_are_read_back_as_float32(tmp_path: Path):
    store = RewardStore(tmp_path)
    store.add([row("x", 0.1)])
    assert RewardStore(tmp_path).find(("x", 0, 0)) is None
    store.commit()
    assert RewardStore(tmp_path).find(("x", 0, 0)) == pytest.approx(0.1, abs=1e-7)
    assert store.num_pending == 0


def test_stored_reward_wins_over_a_new_one(tmp_path: Path):
    store = RewardStore(tmp_path)
    store.add([row("x", 1.0)])
    store.commit()
    store.add([row("x", 2.0)])
    store.commit()
    assert store.find(("x", 0, 0)) == 1.0
    assert RewardStore(tmp_path).find(("x", 0, 0)) == 1.0
    assert len(list(tmp_path.glob("part-*"))) == 1


def test_rewards_of_another_model_are_refused(tmp_path: Path):
    store = RewardStore(tmp_path)
    store.require("b")
    store.add([row("x", 1.0)])
    store.commit()
    again = RewardStore(tmp_path)
    again.require("a")
    with pytest.raises(EndpointError, match="of a; the endpoint answers as b"):
        again.require("b")


def test_part_of_another_version_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"uid": ["x"]}), tmp_path / "part-000001.parquet")
    with pytest.raises(RunError, match="another version"):
        RewardStore(tmp_path)


def test_broken_part_is_refused(tmp_path: Path):
    (tmp_path / "part-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="cannot be read"):
        RewardStore(tmp_path)


def test_failed_commit_is_never_swallowed(tmp_path: Path):
    (tmp_path / "file").touch()
    store = RewardStore(tmp_path / "file" / "scores")
    store.add([row("x", 1.0)])
    with pytest.raises(StoreError):
        store.commit()
