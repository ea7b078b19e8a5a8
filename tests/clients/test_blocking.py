"""Clients without an event loop: the same answers and errors, from a script or from within a running loop."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgpack
import pytest

from align2llava.clients import (
    Endpoint,
    Group,
    Item,
    RewriteItem,
    blocking_inner_llm,
    blocking_reward,
)
from align2llava.clients.errors import InvalidRequestError

MODEL = {"name": "m", "kind": "k", "identity": "i", "weights_sha256": "w", "dtype": "float32"}
ANSWERS = {
    "/v1/model": (200, MODEL),
    "/v1/score": (200, {"model": MODEL, "groups": [{"items": [{"id": "a", "reward": 0.5}]}]}),
    "/v1/rewrite": (400, {"error": {"code": "invalid_request", "message": "no"}}),
}
GROUP = Group(items=(Item(id="a", questions=("q",)),))


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        status, told = ANSWERS[self.path]
        body = msgpack.packb(told) or b""
        self.send_response(status)
        self.send_header("content-type", "application/x-msgpack")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 (names of the base class)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name)
        return


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Endpoint(url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_reward_is_returned_when_it_is_there(endpoint: Endpoint):
    with blocking_reward(endpoint, kind="question-reward") as client:
        assert client.model(timeout_s=20).identity == "i"
        assert client.score([GROUP], timeout_s=20).groups[0].items[0].reward == 0.5


async def test_call_within_a_running_loop_works_too(endpoint: Endpoint):
    with blocking_reward(endpoint, kind="answer-reward") as client:  # as a notebook's cell
        assert client.model(timeout_s=20).identity == "i"


def test_error_is_the_async_clients(endpoint: Endpoint):
    with (
        blocking_inner_llm(endpoint) as client,
        pytest.raises(InvalidRequestError, match="no"),
    ):
        client.rewrite([RewriteItem(id="a", question="q", answer="a")], timeout_s=20)


def test_its_thread_ends_with_it(endpoint: Endpoint):
    with blocking_reward(endpoint, kind="question-reward") as client:
        client.model(timeout_s=20)
        loops = [one for one in threading.enumerate() if "portal" in one.name]
    assert loops
    assert not any(one.is_alive() for one in loops)
