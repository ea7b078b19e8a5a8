"""The page at `/`: what it says, and that it asks nobody for anything."""

import re
import shlex
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest

from align2llava.services import answer_reward
from align2llava.services.answer_reward import AnswerReward
from align2llava.services.surfaces.rest.examples import EXAMPLES
from align2llava.services.surfaces.rest.front_page import Standing, curl, origin_of, page
from tests.services.in_process import InProcess, in_process

STANDING = Standing(
    kind="answer-reward",
    description="Scores <answers>.",
    state="the service is not ready: loading",
    model="",
    grpc_port=50052,
    needs_key=False,
)
QUESTION = EXAMPLES["question-reward"][0]


@pytest.fixture
async def running() -> AsyncIterator[InProcess]:
    async with in_process(AnswerReward, answer_reward.RUNTIME) as service:
        yield service


async def test_page_names_service_state_model_and_routes(running: InProcess):
    response = await running.http.get("/")
    assert response.status_code == 200
    text = unescape(re.sub("<[^>]+>", " ", response.text))
    for said in ("answer-reward", "State: ready", "fake-answer-reward", "POST /v1/score"):
        assert said in re.sub(r"\s+", " ", text)
    for link in re.findall(r'href="([^"]+)"', response.text):
        if link != "/metrics":  # off in the tests' process
            assert (await running.http.get(link)).status_code == 200


async def test_page_asks_nobody_for_anything(running: InProcess):
    response = await running.http.get("/")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert re.findall(r"<(?:script|link|img|iframe|object|embed)", response.text) == []
    assert re.findall(r"https?://(?!127\.0\.0\.1)|url\(|@import|src=", response.text) == []


@pytest.mark.parametrize("path", ["/static_content/swagger-ui.css", "/assets/x.js", "/docs"])
async def test_no_page_of_bentoml_is_left(running: InProcess, path: str):
    response = await running.http.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "invalid_request"


async def test_service_that_is_not_ready_has_its_page(running: InProcess):
    running.runtime.begin_drain()
    assert "not ready: draining" in (await running.http.get("/")).text


async def test_host_of_a_request_is_no_html(running: InProcess):
    response = await running.http.get("/", headers={"host": '127.0.0.1"><script>'})
    assert "<script" not in response.text


def test_texts_are_escaped():
    assert "&lt;answers&gt;" in page(STANDING, EXAMPLES["answer-reward"], origin="http://a:1")


def test_command_to_paste_is_one_word_of_shell_for_each_argument():
    words = shlex.split(curl(QUESTION, origin="http://127.0.0.1:3001", needs_key=True))
    assert words[:4] == ["curl", "-s", "-H", "authorization: Bearer $KEY"]
    assert words[4] == "http://127.0.0.1:3001/v1/score"
    assert words[7] == "-d"
    assert len(words) == 9


@pytest.mark.parametrize("host", ["a:1", "127.0.0.1", "[::1]:3001"])
def test_plain_hosts_are_kept(host: str):
    assert origin_of("http", host, otherwise="x") == f"http://{host}"


@pytest.mark.parametrize("host", ["", "a b", "a;rm", "$(x)", "a:1\n", "user@a"])
def test_other_hosts_are_not(host: str):
    assert origin_of("http", host, otherwise="x") == "x"


def test_module_holds_no_address_of_the_web():
    for name in ("front_page", "openapi", "examples"):
        source = Path(f"services/surfaces/rest/{name}.py").read_text()
        assert re.findall(r"https?://[a-z]", source) == []
