from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
    # vLLM 0.32 reads the deprecated field of its own request class.
    pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning"),
]
USER: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Is there a red star?"}]


@pytest_asyncio.fixture(loop_scope="session")
async def http(vllm_engine) -> AsyncIterator[httpx.AsyncClient]:
    from align2llava.services.surfaces.rest.chat import chat_app

    transport = httpx.ASGITransport(chat_app(vllm_engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://chat") as client:
        yield client


@pytest.fixture
def client(http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url="http://chat/v1", api_key="k", http_client=cast("Any", http))


async def test_models_names_the_model_served(client: openai.AsyncOpenAI, vllm_engine):
    models = await client.models.list()
    assert [model.id for model in models.data] == [vllm_engine.identity.name]


async def test_streamed_chat_says_what_unstreamed_chat_says(client: openai.AsyncOpenAI):
    asked = {"model": "inner-llm", "messages": USER, "temperature": 0, "max_tokens": 12}
    whole = await client.chat.completions.create(**asked)
    stream = await client.chat.completions.create(**asked, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == whole.choices[0].message.content
    assert 0 < whole.usage.completion_tokens <= 12


async def test_completion_without_a_bound_ends(client: openai.AsyncOpenAI):
    endless = {"ignore_eos": True}
    answer = await client.chat.completions.create(
        model="inner-llm", messages=USER, temperature=0, extra_body=endless
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 1024


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        pytest.param({"model": "other"}, openai.NotFoundError, id="a model not served"),
        pytest.param({"n": 9}, openai.BadRequestError, id="too many rollouts"),
        pytest.param({"max_tokens": 100_000}, openai.BadRequestError, id="beyond the context"),
        pytest.param({"temperature": -1}, openai.BadRequestError, id="a negative temperature"),
    ],
)
async def test_request_that_cannot_be_served_is_refused(
    client: openai.AsyncOpenAI, asked: dict, error: type[Exception]
):
    with pytest.raises(error):
        await client.chat.completions.create(**{"model": "inner-llm", "messages": USER, **asked})


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/v1/responses", "/docs"])
async def test_no_other_route_of_vllm_is_open(http: httpx.AsyncClient, path: str):
    assert (await http.post(path, json={})).status_code == 404


async def test_body_that_is_no_json_is_a_bad_request(http: httpx.AsyncClient):
    answer = await http.post(
        "/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
