"""The REST client decides by status and schema, never by text."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import httpx
import msgpack
import orjson
import pytest

from align2llava.clients.endpoint import Endpoint
from align2llava.clients.errors import (
    BadAnswerError,
    ClientError,
    DeadlineError,
    ServerFaultError,
    TooLargeError,
    UnavailableError,
)
from align2llava.clients.transport.rest import RestInnerLLMClient, RestRewardClient
from align2llava.clients.wire.codes import TABLE, Code
from align2llava.clients.wire.schemas import Group, Item

MODEL = {"name": "m", "kind": "k", "identity": "i", "weights_sha256": "w", "dtype": "float32"}
GROUP = Group(items=(Item(id="a", questions=("q",)),))
OUTCOME = {"items": [{"id": "a", "reward": 0.5}]}
Answer = httpx.Response
Handler = (
    Callable[[httpx.Request], Answer] | Callable[[httpx.Request], Coroutine[None, None, Answer]]
)
ENDPOINT = Endpoint(url="http://service", api_key="secret", max_body_bytes=10_000)


def client(handler: Handler) -> RestRewardClient:
    return RestRewardClient(ENDPOINT, transport=httpx.MockTransport(handler))


def packed(body: object) -> httpx.Response:
    return httpx.Response(
        200, content=msgpack.packb(body), headers={"content-type": "application/x-msgpack"}
    )


async def test_request_carries_key_deadline_and_msgpack():
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return packed({"model": MODEL, "groups": [OUTCOME]})

    response = await client(handler).score([GROUP], timeout_s=5)
    assert response.groups[0].items[0].reward == 0.5
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert 0 < int(seen[0].headers["x-deadline-ms"]) <= 5000
    assert msgpack.unpackb(seen[0].content) == {
        "groups": [{"items": [{"id": "a", "questions": ["q"]}]}]
    }


@pytest.mark.parametrize("code", [c for c in Code if c not in (Code.OVERLOADED, Code.UNAVAILABLE)])
async def test_status_decides_the_error(code: Code):
    def handler(request: httpx.Request) -> httpx.Response:
        body = {"error": {"code": "overloaded", "message": "integrate the rate"}}
        return httpx.Response(TABLE[code].http_status, content=orjson.dumps(body))

    with pytest.raises(ClientError, match="integrate the rate") as caught:
        await client(handler).score([GROUP], timeout_s=5)
    assert caught.value.code is code


async def test_retry_after_is_kept():
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "30"})

    with pytest.raises(ClientError) as caught:
        await client(handler).score([GROUP], timeout_s=1)
    assert caught.value.retry_after_s == 30


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, content=b"\xc1"),
        httpx.Response(200, content=b"<html>"),
        packed({"model": MODEL, "groups": [{"items": [{"id": "a", "reward": float("nan")}]}]}),
        packed({"model": MODEL, "groups": [{"items": [{"id": "b", "reward": 1.0}]}]}),
        packed({"model": MODEL, "groups": []}),
        packed({"model": MODEL, "groups": [OUTCOME], "extra": 1}),
        httpx.Response(200, content=b"x" * 10_001),
    ],
    ids=["not msgpack", "html", "nan", "other id", "no group", "extra field", "over the limit"],
)
async def test_answer_outside_the_schema_is_a_server_fault(response: httpx.Response):
    with pytest.raises(BadAnswerError):
        await client(lambda request: response).score([GROUP], timeout_s=5)


async def test_http_500_with_a_json_body_is_not_data():
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500, json={"model": MODEL, "groups": [OUTCOME]})

    with pytest.raises(ClientError) as caught:
        await client(handler).score([GROUP], timeout_s=5)
    assert caught.value.code is Code.INTERNAL


async def test_slow_service_is_a_deadline():
    async def handler(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        raise AssertionError

    with pytest.raises(DeadlineError):
        await client(handler).score([GROUP], timeout_s=0.02)


async def test_refused_connection_is_unavailable():
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises((UnavailableError, DeadlineError)):
        await client(handler).model(timeout_s=0.05)


async def test_request_over_the_limit_is_not_sent():
    group = Group(items=(Item(id="a", questions=("q" * 10_001,)),))
    with pytest.raises(TooLargeError, match="limit is 10000"):
        await client(lambda request: pytest.fail("sent")).score([group], timeout_s=5)


async def test_model_is_a_get():
    def handler(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/v1/model")
        return packed(MODEL)

    assert (await client(handler).model(timeout_s=5)).identity == "i"


async def test_inner_llm_answer_with_other_ids_is_refused():
    def handler(request: httpx.Request) -> httpx.Response:
        return packed({"model": MODEL, "items": []})

    inner = RestInnerLLMClient(ENDPOINT, transport=httpx.MockTransport(handler))
    from align2llava.clients.wire.schemas import LikelihoodItem

    with pytest.raises(BadAnswerError):
        await inner.likelihood([LikelihoodItem(id="a", prompt="", completion="c")], timeout_s=5)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br", "none"])
async def test_an_answer_of_an_encoding_that_was_not_asked_for_is_bad_and_not_unpacked(
    encoding: str,
):
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        headers = {"content-encoding": encoding}
        return httpx.Response(200, headers=headers, stream=Unread())

    with pytest.raises(BadAnswerError, match=f"content-encoding {encoding}; identity was asked"):
        await client(handler).score([GROUP], timeout_s=5)
    assert seen[0].headers["accept-encoding"] == "identity"


class Unread(httpx.AsyncByteStream):
    """A body that nobody may read."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""


@pytest.mark.parametrize(
    "body",
    [
        {"model": MODEL, "groups": [OUTCOME] * 2},
        {"model": MODEL, "groups": [{"items": [[[]] * 1] * 1}] * 1, "a": [[[[[[[]]]]]]]},
        {str(key): 1 for key in range(17)},
    ],
    ids=["more groups than were asked for", "lists within lists", "more fields than any message"],
)
async def test_more_than_was_asked_for_is_not_parsed(body: object):
    with pytest.raises(BadAnswerError, match="the answer is no msgpack"):
        await client(lambda _: packed(body)).score([GROUP], timeout_s=5)


async def test_an_error_that_is_too_long_is_told_by_its_status():
    async with asyncio.timeout(20):
        with pytest.raises(ServerFaultError, match=r"^HTTP 500$"):
            await client(lambda _: httpx.Response(500, content=b"x" * 10**6)).model(timeout_s=5)
