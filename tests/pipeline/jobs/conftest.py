"""Each test of jobs runs against the fake API server, and a real one where `KUBEBUILDER_ASSETS` is set."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from align2llava.pipeline.jobs.watching import PollInterval
from tests.pipeline.jobs.fake_api import FakeApi, Server
from tests.pipeline.jobs.real_api import TOKEN, real_server
from tests.pipeline.jobs.world import World, write_kubeconfig

PACE = PollInterval(poll_s=2.0, retry_s=0.01, max_failures=3)


@pytest.fixture
def pace() -> PollInterval:
    return PACE


@pytest.fixture
def fake_world(tmp_path: Path) -> Iterator[World]:
    """A world whose server can be told to misbehave."""
    api = FakeApi()
    server = Server(api)
    server.start()
    try:
        yield World(write_kubeconfig(tmp_path / "kubeconfig", server.url, token="t"), api)
    finally:
        api.close()
        server.stop()


@pytest.fixture(params=["fake", pytest.param("real", marks=[pytest.mark.timeout(120)])])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world in which nothing misbehaves: on the fake server, and on a real one."""
    if request.param == "fake":
        yield request.getfixturevalue("fake_world")
        return
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        pytest.skip("KUBEBUILDER_ASSETS is not set: no real API server here")
    with real_server(Path(assets), tmp_path) as url:
        yield World(write_kubeconfig(tmp_path / "kubeconfig", url, token=TOKEN), None)
