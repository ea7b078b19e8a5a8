"""A bounded part of what schemathesis tries, and that it finds what it is there to find."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from align2llava.services.surfaces.rest.examples import EXAMPLES
from align2llava.services.surfaces.rest.openapi import document
from tests.attacks.probes import SCHEMATHESIS, probed, read_report, row, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not SCHEMATHESIS.exists(),
        reason="schemathesis is not installed: make .venv-schemathesis/.installed",
    ),
]

_LEAST_CASES = {"question-reward": 250, "answer-reward": 250, "inner-llm": 1000}


class Wrong(BaseHTTPRequestHandler):
    """Knows its document, answers identities of another form, and fails at all else."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name)
        pass

    def do_GET(self) -> None:
        is_document = self.path == "/docs.json"
        made = document("question-reward", description="wrong") if is_document else {"name": 1}
        self._answer(200, made)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self._answer(500, {"error": {"code": "internal", "message": "it failed"}})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def wrong_service() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Wrong) as listener:
        thread = Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}"
        finally:
            listener.shutdown()
            thread.join()


def test_services_answer_every_probe_as_their_documents_say(tmp_path: Path):
    rows = run(tmp_path, seed=1, scale=0.03)
    assert [one.name for one in rows] == [f"probes of {kind}" for kind in EXAMPLES]
    for one, least in zip(rows, _LEAST_CASES.values(), strict=True):
        assert one.is_held, one
        assert one.accepted + one.refused == one.tried >= least
        assert one.accepted > 0


def test_service_that_answers_otherwise_than_its_document_says_is_found(tmp_path: Path):
    with wrong_service() as url:
        made = row("wrong", probed(url, tmp_path, seed=1, num_examples=3), seconds=0)
    assert made.faults > 10
    assert made.uncaught > 10
    assert "failed: not_a_server_error" in made.note
    assert "failed: response_schema_conformance" in made.note
    assert "failed: unsupported_method" in made.note
    assert made.hangs == 0


def test_report_that_is_cut_off_is_no_result(tmp_path: Path):
    with wrong_service() as url:
        probed(url, tmp_path, seed=1, num_examples=1)
    report = tmp_path / "probe.ndjson"
    report.write_text("".join(report.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RuntimeError, match="cut off"):
        read_report(report)
