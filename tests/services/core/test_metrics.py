"""The files through which processes share their instruments, in a real server."""

from pathlib import Path

import pytest

from tests.contract.servers import server
from tests.contract.wire_values import question_group


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_requests_make_no_files_that_a_reader_could_find_empty(tmp_path: Path):
    def files() -> set[str]:
        folder = tmp_path / "bentoml" / "prometheus_multiproc_dir"
        return {path.stem.rpartition("_")[0] for path in folder.iterdir()}  # without the process id

    with server("question-reward", tmp_path) as running:
        before = files()
        for transport in ("rest", "grpc"):
            client = running.reward_client(transport)
            await client.score([question_group("Is it red?")], timeout_s=20)
            await client.aclose()
        assert files() == before
    assert before == {"counter", "gauge_all", "gauge_livesum", "histogram"}
