"""A finished run for tests that only read it; those that write into one copy it."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.curation.run_fixture import RunFixture, make_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunFixture:
    return make_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def own_run(finished_run: RunFixture, tmp_path: Path) -> RunFixture:
    run = tmp_path / "run"
    shutil.copytree(finished_run.run, run)
    return RunFixture(
        run=run,
        raw=finished_run.raw,
        truth=finished_run.truth,
        rows=finished_run.rows,
        records=finished_run.records,
    )
