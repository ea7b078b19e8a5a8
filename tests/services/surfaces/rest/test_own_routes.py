from collections.abc import AsyncIterator

import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from align2llava.services import inner_llm
from align2llava.services.inner_llm import InnerLLM
from align2llava.services.process.lifecycle import LoadedModel
from tests.services.in_process import InProcess, in_process

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def running() -> AsyncIterator[InProcess]:
    async with in_process(InnerLLM, inner_llm.RUNTIME) as service:
        yield service


async def test_model_route_stands_beside_the_apis(running: InProcess):
    assert (await running.http.get("/v1/model")).json()["kind"] == "inner-llm"


async def test_engine_without_chat_says_so(running: InProcess):
    response = await running.http.post("/v1/chat/completions", json=HELLO)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"
    assert "no chat routes" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        pytest.param(
            {"structured_outputs": {"json": {}}}, 400, "structured_outputs: Extra", id="a grammar"
        ),
        pytest.param({"n": 9}, 400, "n: Input should be less than or equal to 8", id="rollouts"),
        pytest.param({"user": "x" * 2**18}, 413, "the limit is 262144", id="a large body"),
    ],
)
async def test_chat_is_bounded_before_an_engine_sees_it(
    running: InProcess, asked: dict[str, object], status: int, message: str
):
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("the engine was asked")

    running.runtime._loaded = LoadedModel(core=running.runtime.core, app=app)
    response = await running.http.post("/v1/chat/completions", json={**HELLO, **asked})
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


async def test_engine_routes_hold_their_place_at_the_door(running: InProcess):
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(running.runtime.started.parts.admission.num_items)
        await PlainTextResponse("of the engine")(scope, receive, send)

    running.runtime._loaded = LoadedModel(core=running.runtime.core, app=app)
    asked = {**HELLO, "n": 3}
    assert (await running.http.post("/v1/chat/completions", json=asked)).text == "of the engine"
    assert (await running.http.get("/v1/models")).text == "of the engine"
    assert seen == [3, 1]
    assert running.runtime.started.parts.admission.num_items == 0


async def test_error_of_an_engine_route_is_worded_by_the_table(running: InProcess):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        error = {"message": "no such model", "type": "NotFoundError", "param": None, "code": 404}
        await JSONResponse({"error": error}, status_code=404)(scope, receive, send)

    running.runtime._loaded = LoadedModel(core=running.runtime.core, app=app)
    response = await running.http.post("/v1/chat/completions", json=HELLO)
    assert response.status_code == 404
    assert response.json() == {"error": {"code": "invalid_request", "message": "no such model"}}


async def test_loading_service_is_unavailable(running: InProcess):
    running.runtime._loaded = None
    assert (await running.http.get("/v1/model")).status_code == 503
    assert (await running.http.get("/v1/models")).status_code == 503
