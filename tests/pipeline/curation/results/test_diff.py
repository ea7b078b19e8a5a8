import shutil
from pathlib import Path

import pytest

from align2llava.pipeline.curation.results.diff import diff
from align2llava.pipeline.errors import RunError
from tests.pipeline.curation.fake_clients import FakeConnector
from tests.pipeline.curation.small_world import records, run, write_world


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and its run `a`."""
    folder = tmp_path_factory.mktemp("base")
    run(write_world(folder, records(90)), folder / "a")
    return folder


def other(base: Path, tmp_path: Path, *sets: str, connector: FakeConnector | None = None) -> Path:
    run(base / "curate.yaml", tmp_path / "b", sets=sets, connector=connector)
    return tmp_path / "b"


def test_runs_of_the_same_config_do_not_differ(base: Path, tmp_path: Path):
    found = diff(base / "a", other(base, tmp_path), num_examples=5)
    assert found.is_empty
    assert found.is_same_dataset
    assert found.kept.jaccard == 1.0
    assert found.turns.num_turns > 0


def test_narrower_cut_keeps_a_part_and_the_rewards_are_the_same(base: Path, tmp_path: Path):
    b = other(base, tmp_path, "selection.answer_keep=0.15")
    found = diff(base / "a", b, num_examples=3)
    assert not found.is_empty
    assert [one.name for one in found.config] == ["selection.answer_keep"]
    assert found.kept.num_both == found.kept.num_b < found.kept.num_a
    assert found.kept.only_a == {"below_answer_cut": found.kept.num_a - found.kept.num_b}
    assert all(not one.num_different for one in found.rewards)
    assert 0 < len(found.records) <= 3
    for one in found.records:
        assert one.a is not None
        assert one.b is not None
        assert one.a.answer_reward == one.b.answer_reward
        assert one.a.answer_rank is not None
        assert one.b.answer_cut is not None
        assert one.b.answer_cut < one.a.answer_rank


def test_other_models_are_named(base: Path, tmp_path: Path):
    b = other(base, tmp_path, connector=FakeConnector(names={"answer-reward": "b"}))
    found = diff(base / "a", b, num_examples=3)
    (change,) = found.identities
    assert (change.name, change.a, change.b) == (
        "answer_reward",
        "answer-reward-a",
        "answer-reward-b",
    )


def test_rewrites_that_one_run_lacks_go_out_otherwise(base: Path, tmp_path: Path):
    b = other(base, tmp_path, "alignment.rewrite=off")
    found = diff(base / "a", b, num_examples=2)
    assert not found.is_same_dataset
    assert found.turns.num_different == found.turns.num_turns > 0
    assert set(found.turns.statuses) == {"rewritten -> none"}
    (first, _) = found.turns.examples
    assert first.answer_a == f"So: {first.answer_b}"


@pytest.mark.parametrize("what", ["missing", "unfinished"])
def test_run_that_is_missing_or_not_finished_is_refused(base: Path, tmp_path: Path, what: str):
    if what == "unfinished":
        shutil.copytree(base / "a", tmp_path / "b")
        (tmp_path / "b" / "manifest.json").unlink()
    for pair in ((base / "a", tmp_path / "b"), (tmp_path / "b", base / "a")):
        with pytest.raises(RunError, match=str(tmp_path / "b")):
            diff(*pair, num_examples=3)
