"""Kills of two processes of `a2l serve`, each under a run: the campaign's `kills` in small."""

from pathlib import Path

import pytest

from tests.attacks.kills import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROLES = ["a2l serve", "answer-reward worker"]


def test_killed_process_leaves_no_orphan_and_the_run_ends_with_the_same_dataset(tmp_path: Path):
    rows = run(tmp_path, seed=0, num_rounds=1, engine="fake", only=ROLES)
    assert [row.name for row in rows] == [f"kill -9 of {role}" for role in ROLES]
    assert all(row.is_held for row in rows), rows
    for row in rows:
        assert row.note.startswith("1 of 1 kills while the run was under way"), row


def test_role_that_no_process_has_is_refused_before_anything_is_killed(tmp_path: Path):
    with pytest.raises(ValueError, match="there is no 'inner-llm core'; there are a2l serve, "):
        run(tmp_path, seed=0, num_rounds=1, engine="fake", only=["inner-llm core"])
