from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align2llava.pipeline.curation.store.rewards import RewardRow, RewardStore, stored_rewards
from align2llava.pipeline.errors import EndpointError, RunError, StoreError

A, B = f"{1:032x}", f"{2:032x}"
Opened = Callable[[Path], RewardStore]


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


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens the store of a folder; all are closed when the test ends."""
    with ExitStack() as stack:

        def open_one(folder: Path) -> RewardStore:
            (folder / "scratch").mkdir(exist_ok=True)
            store = RewardStore(folder / "scores", scratch=folder / "scratch")
            return stack.enter_context(closing(store))

        yield open_one


def rewards(store: RewardStore) -> dict[str, float]:
    stored = store.rewards().select("uid", "reward").iter_rows()
    return {f"{uid:032x}": reward for uid, reward in stored}


def test_committed_rewards_are_read_back_as_float32(opened: Opened, tmp_path: Path):
    store = opened(tmp_path)
    store.add([row(A, 0.1)])
    assert store.holds((A, 0, 0))
    assert not opened(tmp_path).holds((A, 0, 0))
    store.commit()
    assert opened(tmp_path).holds((A, 0, 0))
    assert rewards(opened(tmp_path)) == {A: pytest.approx(0.1, abs=1e-7)}
    assert store.num_pending == 0


def test_stored_reward_wins_over_a_new_one(opened: Opened, tmp_path: Path):
    store = opened(tmp_path)
    store.add([row(A, 1.0)])
    store.commit()
    store.add([row(A, 2.0)])
    store.commit()
    assert rewards(store) == rewards(opened(tmp_path)) == {A: 1.0}
    assert len(list((tmp_path / "scores").glob("part-*"))) == 1


def test_index_is_only_a_cache_of_the_parts(opened: Opened, tmp_path: Path):
    store = opened(tmp_path)
    store.add([row(A, 1.0)])
    store.commit()
    (index,) = (tmp_path / "scratch").glob("keys-*.sqlite")
    index.unlink()
    assert opened(tmp_path).holds((A, 0, 0))  # made again
    for part in (tmp_path / "scores").glob("part-*"):
        part.unlink()
    assert not opened(tmp_path).holds((A, 0, 0))  # knows more than there is: made again
    index.write_bytes(b"no database at all, but long enough to look at" * 9)
    assert not opened(tmp_path).holds((A, 0, 0))  # broken: made again


def test_part_that_the_index_has_not_seen_is_read(opened: Opened, tmp_path: Path):
    opened(tmp_path)
    with closing(RewardStore(tmp_path / "scores", scratch=tmp_path)) as other:
        other.add([row(A, 1.0), row(B, 2.0)])
        other.commit()
    assert opened(tmp_path).holds((B, 0, 0))


def test_closed_store_lets_go_of_its_index(opened: Opened, tmp_path: Path):
    store = opened(tmp_path)
    store.add([row(A, 1.0)])
    store.commit()
    store.close()
    with pytest.raises(StoreError, match="closed database"):
        store.holds((A, 0, 0))
    assert rewards(store) == {A: 1.0}  # of the parts


def test_rewards_of_another_model_are_refused(opened: Opened, tmp_path: Path):
    store = opened(tmp_path)
    store.require("b")
    store.add([row(A, 1.0)])
    store.commit()
    again = opened(tmp_path)
    again.require("a")
    with pytest.raises(EndpointError, match="of a; the endpoint answers as b"):
        again.require("b")


def test_part_of_another_version_is_refused(opened: Opened, tmp_path: Path):
    (tmp_path / "scores").mkdir()
    pq.write_table(pa.table({"uid": ["x"]}), tmp_path / "scores" / "part-000001-0.parquet")
    with pytest.raises(RunError, match="another version"):
        opened(tmp_path)


def test_broken_part_is_refused(opened: Opened, tmp_path: Path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "part-000001-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="cannot be read"):
        opened(tmp_path)


def test_failed_commit_is_never_swallowed_and_may_be_tried_again(opened: Opened, tmp_path: Path):
    store = opened(tmp_path)
    (tmp_path / "scores").touch()
    store.add([row(A, 1.0)])
    with pytest.raises(StoreError):
        store.commit()
    (tmp_path / "scores").unlink()
    store.commit()
    assert rewards(store) == {A: 1.0}


def test_empty_folder_has_no_rewards(tmp_path: Path):
    assert stored_rewards(tmp_path / "scores").is_empty()
