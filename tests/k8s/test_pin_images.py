"""The digests of production come from its registry, and from nowhere else; the lint is content then."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.k8s.folders import K8S, promised
from tools.k8s_lint.manifests import Manifests, parse
from tools.k8s_lint.rendering import render
from tools.k8s_lint.rules import PINNED, RULES
from tools.kubectl import ROOT
from tools.pin_images import PinError, images_of, pinned

pytestmark = pytest.mark.timeout(60)

DIGEST = "sha256:" + "ab" * 32


class Registry(BaseHTTPRequestHandler):
    """A registry that knows `align2llava/services` and `align2llava/jobs`, for those with a token."""

    def do_GET(self) -> None:
        self.send_response(200)
        body = b'{"token": "ours"}'
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        host = self.headers["host"]
        if self.headers.get("authorization") != "Bearer ours":
            self.send_response(401)
            self.send_header(
                "www-authenticate", f'Bearer realm="http://{host}/token",service="r",scope="pull"'
            )
        elif re.fullmatch(r"/v2/align2llava/(services|jobs)/manifests/0\.1\.0", self.path):
            self.send_response(200)
            self.send_header("docker-content-digest", DIGEST)
        else:
            self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name)
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def production_of(tmp_path: Path, registry: str) -> Path:
    """A copy of k8s/ whose production names this registry."""
    shutil.copytree(K8S, tmp_path / "k8s")
    overlay = tmp_path / "k8s" / "overlays" / "production"
    path = overlay / "kustomization.yaml"
    path.write_text(path.read_text().replace("registry.example.com", registry))
    return overlay


def pin(overlay: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "pin_images.py", overlay],
        env={"DOCKER_CONFIG": str(tmp_path), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pinned_production_keeps_every_rule(tmp_path: Path, registry: str):
    overlay = production_of(tmp_path, registry)
    done = pin(overlay, tmp_path)
    assert done.returncode == 0, done.stderr
    found = Manifests(objects=parse(render(overlay)), provided=promised())
    for rule in {**RULES, **PINNED}.values():
        assert list(rule(found)) == []
    # Once more changes nothing.
    before = (overlay / "kustomization.yaml").read_text()
    assert pin(overlay, tmp_path).returncode == 0
    assert (overlay / "kustomization.yaml").read_text() == before
    assert before.count(DIGEST) == 2


def test_tag_that_the_registry_does_not_know_changes_nothing(tmp_path: Path, registry: str):
    overlay = production_of(tmp_path, registry)
    path = overlay / "kustomization.yaml"
    path.write_text(path.read_text().replace("newTag: 0.1.0", "newTag: 0.2.0"))
    before = path.read_text()
    done = pin(overlay, tmp_path)
    assert done.returncode != 0
    assert "/v2/align2llava/services/manifests/0.2.0: the registry answers 404" in done.stderr
    assert path.read_text() == before


def test_image_without_registry_or_tag_is_named():
    with pytest.raises(PinError, match="'a' has no newName with a registry"):
        images_of("images: [{name: a, newName: align2llava/a, newTag: '1'}]")
    with pytest.raises(PinError, match="'a' has no newTag"):
        images_of("images: [{name: a, newName: r.example.com/a}]")
    with pytest.raises(PinError, match="lists no images"):
        images_of("resources: []")


def test_image_on_one_line_is_refused_rather_than_left_alone():
    with pytest.raises(PinError, match="'a'"):
        pinned("images:\n  - {name: a, newTag: 1}\n", {"a": DIGEST})
