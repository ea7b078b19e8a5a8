"""Talking to something that is no API server, or with a login that does not work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from align2llava.pipeline.errors import ConfigError, EndpointError
from align2llava.pipeline.jobs.cluster import connected
from tests.pipeline.jobs.world import World, write_kubeconfig


@contextmanager
def answering(code: int, content_type: str | None, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            if content_type is not None:
                self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("code", "content_type", "body", "said"),
    [
        pytest.param(502, "text/html", b"<html>", "answered HTTP 502", id="page of a proxy"),
        pytest.param(200, "text/html", b"<html>", "no API server says", id="page of a site"),
        pytest.param(500, None, b"x", "no API server says", id="error without content type"),
        pytest.param(403, "application/json", b'"x"', "no API server says", id="JSON, no status"),
        pytest.param(200, "application/json", b'{"items":null}', "no API", id="no list"),
        pytest.param(
            *(401, "application/json", b'{"message":"Unauthorized","code":401}'),
            r"pods: refused in namespace default \(401\): Unauthorized",
            id="unknown key",
        ),
    ],
)
async def test_answer_of_another_server_is_one_line(
    tmp_path: Path, code: int, content_type: str | None, body: bytes, said: str
):
    with answering(code, content_type, body) as url:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", url, token="t")
        async with connected(kubeconfig=kubeconfig, namespace=None) as cluster:
            with pytest.raises(EndpointError, match=said) as caught:
                await cluster.pods()
    assert "\n" not in str(caught.value)


async def test_login_command_that_is_missing_is_named(fake_world: World):
    config = yaml.safe_load(fake_world.kubeconfig.read_text())
    login = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "no-such-login"}
    config["users"][0]["user"] = {"exec": login}
    fake_world.kubeconfig.write_text(yaml.safe_dump(config))
    async with connected(kubeconfig=fake_world.kubeconfig, namespace=None) as cluster:
        with pytest.raises(ConfigError, match=r"login failed: .*no-such-login"):
            await cluster.pods()


async def test_kubeconfig_without_a_user_asks_anonymously(fake_world: World):
    config = yaml.safe_load(fake_world.kubeconfig.read_text())
    del config["contexts"][0]["context"]["user"]
    fake_world.kubeconfig.write_text(yaml.safe_dump(config))
    async with connected(kubeconfig=fake_world.kubeconfig, namespace="other") as cluster:
        assert cluster.namespace == "other"
        assert await cluster.pods() == []


async def test_proxy_of_the_environment_is_asked_for_other_machines_and_never_for_this_one(
    fake_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with answering(502, "text/html", b"<html>") as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy")
        monkeypatch.delenv("NO_PROXY")
        far = write_kubeconfig(tmp_path / "far", "http://api.invalid:6443/k8s", token="t")
        async with connected(kubeconfig=far, namespace=None) as cluster:
            with pytest.raises(EndpointError, match=r"api\.invalid.* answered HTTP 502"):
                await cluster.pods()
        async with connected(kubeconfig=fake_world.kubeconfig, namespace="other") as cluster:
            assert await cluster.pods() == []


@pytest.mark.parametrize("server", ["", "api:6443", "http://", "http://api:99999", "http://[::1"])
async def test_kubeconfig_whose_server_is_no_address_is_refused(tmp_path: Path, server: str):
    path = write_kubeconfig(tmp_path / "kubeconfig", server, token="t")
    with pytest.raises(ConfigError, match="not a kubeconfig"):
        async with connected(kubeconfig=path, namespace=None):
            pass
