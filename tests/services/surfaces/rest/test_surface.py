"""The REST surface in process: a real BentoML app, the fake engine, httpx on its ASGI side."""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgpack
import pytest
from PIL import Image

from align2llava.services import question_reward
from align2llava.services.question_reward import QuestionReward
from align2llava.services.surfaces.rest.bodies import MSGPACK
from tests.services.in_process import InProcess, in_process

_BUFFER = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(_BUFFER, "PNG")
DATA = _BUFFER.getvalue()
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def running() -> AsyncIterator[InProcess]:
    async with in_process(QuestionReward, question_reward.RUNTIME) as service:
        yield service


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[InProcess]:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    environ = {
        "A2L_API_KEYS_FILE": str(keys),
        "A2L_MAX_BODY_BYTES": "2000",
        "A2L_MAX_QUEUE_ITEMS": "2",
    }
    async with in_process(QuestionReward, question_reward.RUNTIME, environ) as service:
        service.http.headers["authorization"] = "Bearer secret"
        yield service


def body(*texts: str, data: object = None) -> dict:
    image = {"sha256": SHA256, "data": base64.b64encode(DATA).decode() if data is None else data}
    items = [{"id": str(n), "questions": [text]} for n, text in enumerate(texts)]
    return {"groups": [{"image": image, "items": items}]}


def assert_error(response: httpx.Response, status: int, code: str) -> str:
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert set(response.json()["error"]) == {"code", "message"}
    assert response.json()["error"]["code"] == code
    return response.json()["error"]["message"]


async def test_score_answers_each_item_and_leaves_absent_members_out(running: InProcess):
    response = await running.http.post("/v1/score", json=body("x", "[[internal]]"))
    assert response.status_code == 200
    first, second = response.json()["groups"][0]["items"]
    assert set(first) == {"id", "reward", "num_tokens", "truncated"}
    assert second["error"]["code"] == "internal"
    assert "reward" not in second


async def test_msgpack_both_ways_gives_the_same_answer(running: InProcess):
    packed = await running.http.post(
        "/v1/score",
        content=msgpack.packb(body("x", data=DATA)),
        headers={"content-type": MSGPACK, "accept": MSGPACK},
    )
    plain = await running.http.post("/v1/score", json=body("x"))
    assert packed.headers["content-type"] == MSGPACK
    unpacked = msgpack.unpackb(packed.content)
    assert unpacked["groups"][0]["items"] == plain.json()["groups"][0]["items"]
    assert unpacked["model"] == plain.json()["model"]


async def test_error_comes_in_the_form_that_was_asked_for(running: InProcess):
    response = await running.http.post(
        "/v1/score", json={"groups": []}, headers={"accept": MSGPACK}
    )
    assert response.status_code == 400
    assert msgpack.unpackb(response.content)["error"]["code"] == "invalid_request"


async def test_model_answers_the_identity(running: InProcess):
    response = await running.http.get("/v1/model")
    assert response.json()["kind"] == "question-reward"
    scored = await running.http.post("/v1/score", json=body("x"))
    assert scored.json()["model"] == response.json()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"groups": [], "more": 1}', id="unknown member"),
        pytest.param(b'{"groups": [{"items": [{"id": 1}]}]}', id="wrong type"),
        pytest.param(b'{"groups": [{"image": {"sha256": "x"}, "items": []}]}', id="no hash"),
        pytest.param('{"groups": ["\udcff"]}'.encode("latin-1", "surrogateescape"), id="no utf-8"),
        pytest.param(b"[" * 10_000, id="deep"),
        pytest.param(b'{"groups": ' + b'[{"items": ' * 500 + b"1", id="deep in the schema"),
        pytest.param(b'{"groups": NaN}', id="nan"),
        pytest.param(b'{"groups": ' + b"9" * 5000 + b"}", id="a huge integer"),
        pytest.param(b'{"groups": [{"items": [{"id": "\\ud800"}]}]}', id="a lone surrogate"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param(b"\x00", id="a null byte"),
        pytest.param('{"groups": []}'.encode("utf-16"), id="utf-16"),
    ],
)
async def test_body_outside_the_schema_is_invalid(running: InProcess, content: bytes):
    response = await running.http.post(
        "/v1/score", content=content, headers={"content-type": "application/json"}
    )
    assert_error(response, 400, "invalid_request")


@pytest.mark.parametrize(
    "content_type",
    ["application/vnd.bentoml+pickle", "multipart/form-data", "text/plain", "image/png"],
)
async def test_other_content_types_are_never_parsed(running: InProcess, content_type: str):
    response = await running.http.post(
        "/v1/score", content=json.dumps(body("x")), headers={"content-type": content_type}
    )
    assert content_type in assert_error(response, 400, "invalid_request")


async def test_unknown_route_and_method_keep_their_status(running: InProcess):
    unknown = await running.http.get("/v1/nothing")
    assert "'GET /v1/nothing'" in assert_error(unknown, 404, "invalid_request")
    wrong = await running.http.get("/v1/score")
    assert "'GET /v1/score'" in assert_error(wrong, 405, "invalid_request")
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/v1/score", 405), ("POST", "/v1/nothing", 404), ("GET", "/v1/model", 200)],
)
async def test_body_that_no_route_takes_is_not_waited_for(
    running: InProcess, method: str, path: str, status: int
):
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with asyncio.timeout(5):
        response = await running.http.request(method, path, content=never())
    assert response.status_code == status


@pytest.mark.parametrize(
    "stated",
    ["", "0", "-1", "1.5", "soon", "\u0661", "\u00b2", str(2**32), "9" * 400, "9" * 5000],
    ids=lambda stated: stated[:12],
)
async def test_deadline_that_is_no_positive_number_is_invalid(running: InProcess, stated: str):
    response = await running.http.post(
        "/v1/score", json=body("x"), headers={b"x-deadline-ms": stated.encode()}
    )
    assert_error(response, 400, "invalid_request")


async def test_gzip_body_is_unpacked(running: InProcess):
    packed = gzip.compress(json.dumps(body("x")).encode())
    response = await running.http.post(
        "/v1/score",
        content=packed,
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    assert response.status_code == 200
    assert "reward" in response.json()["groups"][0]["items"][0]


async def test_gzip_body_is_bounded_unpacked(strict: InProcess):
    response = await strict.http.post(
        "/v1/score",
        content=gzip.compress(bytes(3000)),
        headers={"content-encoding": "gzip", "content-type": "application/json"},
    )
    assert "2000 bytes unpacked" in assert_error(response, 413, "too_large")


async def test_other_encodings_are_refused_by_name(running: InProcess):
    response = await running.http.post(
        "/v1/score",
        content=b"x",
        headers={"content-encoding": "br", "content-type": "application/json"},
    )
    assert "content-encoding is 'br'" in assert_error(response, 400, "invalid_request")


async def test_body_that_is_no_json_says_so_by_place_and_logs_no_trace(
    running: InProcess, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    response = await running.http.post(
        "/v1/score", content=b'{"secret": ', headers={"content-type": "application/json"}
    )
    said = assert_error(response, 400, "invalid_request")
    assert said.startswith("the body is no JSON: ")
    assert "line 1 column 12" in said
    lines = [record for record in caplog.records if not record.name.startswith("httpx")]
    assert [(line.levelname, line.exc_info, line.getMessage()) for line in lines] == [
        ("INFO", None, "question-reward: refused a request: invalid_request")
    ]


async def test_body_of_no_stated_type_is_refused_as_a_web_page_can_send_it(running: InProcess):
    response = await running.http.post("/v1/score", content=json.dumps(body("x")))
    assert "has no content-type" in assert_error(response, 400, "invalid_request")


@pytest.mark.parametrize(
    "origin", ["https://a.example", "http://a.example:3001", "null", "http://["]
)
async def test_page_of_elsewhere_cannot_ask_a_service_without_keys(running: InProcess, origin: str):
    response = await running.http.post("/v1/score", json=body("x"), headers={"origin": origin})
    assert_error(response, 401, "unauthenticated")
    ours = {"origin": "http://localhost:8000"}
    assert (await running.http.post("/v1/score", json=body("x"), headers=ours)).status_code == 200


async def test_slash_behind_a_route_leads_nowhere(running: InProcess):
    headers = {"host": "a.example"}
    assert_error(
        await running.http.post("/v1/score/", json={}, headers=headers), 404, "invalid_request"
    )
    assert_error(await running.http.get("/v1/model/", headers=headers), 404, "invalid_request")


async def test_large_body_is_answered_as_a_small_one(running: InProcess):
    large = body("x") | {"groups": [body("x")["groups"][0]]}
    large["groups"][0]["items"] += [{"id": str(n), "questions": ["y" * 500]} for n in range(1, 900)]
    assert len(json.dumps(large)) > 300_000
    response = await running.http.post("/v1/score", json=large)
    small = await running.http.post("/v1/score", json=body("x"))
    first = response.json()["groups"][0]["items"][0]
    assert first["reward"] == small.json()["groups"][0]["items"][0]["reward"]


async def test_wait_is_bounded_whatever_the_caller_says(running: InProcess):
    response = await running.http.post(
        "/v1/score", json=body("x"), headers={"x-deadline-ms": str(2**32 - 1)}
    )
    assert response.status_code == 200


@pytest.mark.parametrize("host", ["[", "a:b", "\u00ff", "", "a b/c?d#e"])
async def test_host_that_is_none_is_no_fault_of_the_service(running: InProcess, host: str):
    headers = {"host": host.encode("latin-1"), "content-type": "application/json"}
    good = await running.http.post("/v1/score", json=body("x"), headers=headers)
    assert good.status_code in (200, 400)
    bad = await running.http.post("/v1/score", content=b"{", headers=headers)
    assert_error(bad, 400, "invalid_request")


async def test_deadline_is_kept(running: InProcess):
    response = await running.http.post(
        "/v1/score", json=body("[[slow 40]]"), headers={"x-deadline-ms": "10"}
    )
    assert_error(response, 504, "deadline_exceeded")


@pytest.mark.parametrize("path", ["/v1/model", "/docs.json", "/schema.json", "/"])
async def test_everything_but_probes_needs_the_key(strict: InProcess, path: str):
    assert (await strict.http.get(path)).status_code == 200
    response = await strict.http.get(path, headers={"authorization": "Bearer wrong"})
    assert_error(response, 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_probes_need_no_key(strict: InProcess, path: str):
    assert (await strict.http.get(path, headers={"authorization": ""})).status_code == 200


@pytest.mark.parametrize("has_length", [True, False])
async def test_body_over_the_limit_is_too_large(strict: InProcess, has_length: bool):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    response = await strict.http.post(
        "/v1/score",
        content=b"x" * 3000 if has_length else chunks(),
        headers={"content-type": "application/json"},
    )
    assert "2000" in assert_error(response, 413, "too_large")


async def test_overloaded_says_when_to_come_again(strict: InProcess):
    slow = asyncio.create_task(strict.http.post("/v1/score", json=body("[[slow 50]]", "x")))
    while strict.runtime.started.parts.admission.num_items == 0:  # noqa: ASYNC110  (no event)
        await asyncio.sleep(0.001)
    response = await strict.http.post("/v1/score", json=body("x"))
    assert_error(response, 429, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    unread = await strict.http.post("/v1/score", content=b"{", headers={"content-type": "text/x"})
    assert_error(unread, 429, "overloaded")
    assert (await strict.http.get("/v1/model")).status_code == 200
    assert (await slow).status_code == 200


async def test_caller_that_goes_away_costs_nothing(running: InProcess):
    async def post(text: str) -> httpx.Response:
        return await running.http.post("/v1/score", json=body(text))

    door = running.runtime.started.parts.admission
    busy = asyncio.create_task(post("[[slow 50]]"))
    gone = asyncio.create_task(post("[[slow 3000]]"))
    while door.num_items < 2:  # noqa: ASYNC110  (no event)
        await asyncio.sleep(0.001)
    gone.cancel()
    assert (await busy).status_code == 200
    await asyncio.gather(gone, return_exceptions=True)
    async with asyncio.timeout(2):
        await door.drained()


async def test_address_beyond_loopback_is_refused_without_keys(running: InProcess):
    response = await running.http.get("http://10.0.0.1/v1/model")
    assert_error(response, 401, "unauthenticated")


async def test_service_that_drains_is_unavailable(running: InProcess):
    running.runtime.begin_drain()
    assert_error(await running.http.post("/v1/score", json=body("x")), 503, "unavailable")
    said = assert_error(await running.http.get("/readyz"), 503, "unavailable")
    assert said == "the service is not ready: draining"
    assert (await running.http.get("/livez")).status_code == 200


async def test_requests_are_counted_by_code(running: InProcess):
    counter = running.runtime.started.parts.metrics.requests.labels(
        surface="rest", method="score", code="invalid_request"
    )
    before = counter._value.get()
    await running.http.post("/v1/score", json={"groups": []})
    assert counter._value.get() == before + 1
