"""Clients that are not ours: BentoML's own, and any gRPC tool that knows reflection alone."""

import base64
import hashlib
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

from tests.contract.servers import Server
from tests.contract.wire_values import encoded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DATA = encoded(PilImage.new("RGB", (8, 8), "green"))
GROUP = {
    "image": {"sha256": hashlib.sha256(DATA).hexdigest(), "data": base64.b64encode(DATA).decode()},
    "items": [{"id": "a", "questions": ["What is this?"]}],
}


def test_bentoml_client_scores(question_server: Server):
    with bentoml.SyncHTTPClient(question_server.url("rest")) as client:
        response = client.score({"groups": [GROUP]})
    reward = response["groups"][0]["items"][0]["reward"]
    assert -1 <= reward <= 1
    assert response["model"]["kind"] == "question-reward"


def test_bentoml_client_rewrites(inner_server: Server):
    with bentoml.SyncHTTPClient(inner_server.url("rest")) as client:
        response = client.rewrite({"items": [{"id": "a", "question": "q", "answer": "a"}]})
    assert response["items"][0]["rewritten"]["answer"]


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
