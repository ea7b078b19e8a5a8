"""Clients that are not ours: BentoML's own, and any gRPC tool that knows reflection alone."""

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator

import bentoml
import grpc
import httpx
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from PIL import Image as PilImage

from align2llava.clients.wire.schemas import ScoreResponse
from tests.contract.servers import ROOT, Server
from tests.contract.wire_values import encoded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PRINTED_URL = "http://127.0.0.1:3001"
DATA = encoded(PilImage.new("RGB", (8, 8), "green"))
GROUP = {
    "image": {"sha256": hashlib.sha256(DATA).hexdigest(), "data": base64.b64encode(DATA).decode()},
    "items": [{"id": "a", "questions": ["What is this?"]}],
}


def test_bentoml_client_scores(question_server: Server):
    with bentoml.SyncHTTPClient(question_server.url("rest")) as client:
        response = client.score(  # pyright: ignore[reportAttributeAccessIssue]  (made of what the service tells)
            {"groups": [GROUP]}
        )
    reward = response["groups"][0]["items"][0]["reward"]
    assert -1 <= reward <= 1
    assert response["model"]["kind"] == "question-reward"


def test_bentoml_client_rewrites(inner_server: Server):
    with bentoml.SyncHTTPClient(inner_server.url("rest")) as client:
        response = client.rewrite(  # pyright: ignore[reportAttributeAccessIssue]  (made of what the service tells)
            {"items": [{"id": "a", "question": "q", "answer": "a"}]}
        )
    assert response["items"][0]["rewritten"]["answer"]


def printed(language: str, word: str) -> str:
    """The one block of docs/clients.md in this language that holds the word."""
    text = (ROOT / "docs" / "clients.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (block,) = [one for one in blocks if word in one]
    return block


def test_bentoml_example_of_the_page_runs_as_printed(question_server: Server):
    code = printed("python", "bentoml").replace(PRINTED_URL, question_server.url("rest"))
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert -1 <= float(run.stdout) <= 1


def test_curl_example_of_the_page_runs_as_printed_and_its_reply_has_that_form(
    question_server: Server,
):
    command = printed("bash", "curl").replace(PRINTED_URL, question_server.url("rest"))
    run = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    answer = ScoreResponse.model_validate_json(run.stdout)
    shown = ScoreResponse.model_validate_json(printed("json", "blocks-question-reward"))
    assert [[item.id for item in group.items] for group in answer.groups] == [["a", "b"]]
    assert [[item.id for item in group.items] for group in shown.groups] == [["a", "b"]]
    assert all(item.reward is not None for item in answer.groups[0].items)


def test_docs_describe_the_route(question_server: Server):
    described = httpx.get(f"{question_server.url('rest')}/docs.json").json()
    assert "/v1/score" in described["paths"]


@pytest.fixture
def channel(question_server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{question_server.grpc_port}") as channel:
        yield channel


def test_reflection_alone_is_enough_to_score(channel: grpc.Channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "align2llava.v1.QuestionReward" in database.get_services()
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("align2llava.v1.QuestionReward").FindMethodByName("Score")
    request_class = GetMessageClass(method.input_type)
    answer_class = GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/align2llava.v1.QuestionReward/Score",
        request_serializer=request_class.SerializeToString,
        response_deserializer=answer_class.FromString,
    )
    answer = MessageToDict(call(ParseDict({"groups": [GROUP]}, request_class()), timeout=10))
    assert -1 <= answer["groups"][0]["items"][0]["reward"] <= 1
