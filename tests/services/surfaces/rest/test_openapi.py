"""The OpenAPI document: ours, whole, and every example in it can be sent as it stands."""

import json
from typing import Any

import jsonschema
import pytest

from align2llava.clients.wire.codes import TABLE, Code
from align2llava.clients.wire.kinds import ServiceKind
from align2llava.services import answer_reward, inner_llm, question_reward
from align2llava.services.answer_reward import AnswerReward
from align2llava.services.engines.chat_requests import chat_request
from align2llava.services.errors import InvalidRequestError
from align2llava.services.inner_llm import InnerLLM
from align2llava.services.question_reward import QuestionReward
from align2llava.services.surfaces.rest.examples import EXAMPLES, Example
from align2llava.services.surfaces.rest.openapi import document
from tests.services.in_process import in_process

SERVICES = {
    "question-reward": (QuestionReward, question_reward.RUNTIME),
    "answer-reward": (AnswerReward, answer_reward.RUNTIME),
    "inner-llm": (InnerLLM, inner_llm.RUNTIME),
}
KINDS = list(EXAMPLES)


def of(kind: ServiceKind) -> dict:
    return json.loads(json.dumps(document(kind, description="d")))


@pytest.mark.parametrize("kind", KINDS)
def test_document_is_ours_and_names_nobody_else(kind: ServiceKind):
    made = of(kind)
    assert made["info"]["title"] == f"align2llava {kind}"
    text = json.dumps(made).lower()
    assert "bentoml" not in text
    assert "http://" not in text
    assert "https://" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_reference_leads_somewhere(kind: ServiceKind):
    made = of(kind)

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [one for inner in value.values() for one in references(inner)]
        return (
            [one for inner in value for one in references(inner)] if isinstance(value, list) else []
        )

    for reference in references(made):
        place = made
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", list(Code))
def test_document_holds_every_error_of_the_table_with_its_body(kind: ServiceKind, code: Code):
    made = of(kind)
    example = made["components"]["responses"][code]["content"]["application/json"]["example"]
    assert example["error"]["code"] == code
    assert example["error"]["message"]
    jsonschema.validate(example, made["components"]["schemas"]["ErrorAnswer"])
    posts = [path["post"] for path in made["paths"].values() if "post" in path]
    is_of_items = code in (Code.IMAGE_NEEDED, Code.IMAGE_INVALID)
    for operation in posts:
        assert (str(TABLE[code].http_status) in operation["responses"]) is not is_of_items


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        pytest.param(kind, one, id=f"{kind} {one.path}")
        for kind in KINDS
        for one in EXAMPLES[kind]
        if one.gives is not None
    ],
)
async def test_example_can_be_sent_as_it_stands(kind: ServiceKind, example: Example):
    service, runtime = SERVICES[kind]
    async with in_process(service, runtime) as running:
        made = (await running.http.get("/docs.json")).json()
        operation = made["paths"][example.path][example.method.lower()]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        response = await running.http.request(
            example.method, example.path, json=body.get("example")
        )
        assert response.status_code == 200
        errors = [one for one in json.dumps(response.json()).split('"') if one == "error"]
        assert errors == []
        shown = operation["responses"]["200"]["content"]["application/json"]
        schema = {**shown["schema"], "components": made["components"]}
        jsonschema.validate(response.json(), schema)
        jsonschema.validate(shown["example"], schema)
        assert example.gives is not None
        example.gives.model_validate(shown["example"])


HASH = "0" * 64
IMAGES: list[tuple[dict[str, object] | None, int]] = [
    (None, 200),
    ({"sha256": HASH}, 200),
    ({"data": ""}, 200),
    ({"sha256": "", "data": "eA=="}, 200),
    ({"sha256": HASH, "data": None}, 200),
    ({}, 400),
    ({"data": None}, 400),
    ({"sha256": ""}, 400),
    ({"sha256": "0", "data": "eA=="}, 400),
    ({"data": 1}, 400),
]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"groups": []}, 400, id="no groups"),
        pytest.param({"groups": [{"items": []}]}, 400, id="no items"),
        pytest.param({"groups": [{"items": [{"id": ""}]}]}, 400, id="no id"),
        *(
            pytest.param(
                {"groups": [{"image": image, "items": [{"id": "a"}]}]}, status, id=f"image {image}"
            )
            for image, status in IMAGES
        ),
    ],
)
async def test_document_refuses_of_a_score_what_the_service_refuses(
    body: dict[str, object], status: int
):
    async with in_process(QuestionReward, question_reward.RUNTIME) as running:
        assert (await running.http.post("/v1/score", json=body)).status_code == status
    assert is_valid(of("question-reward"), "ScoreRequest", body) == (status == 200)


TURN = {"question": "a?", "answer": "b"}


@pytest.mark.parametrize(
    ("route", "schema", "item"),
    [
        ("rewrite", "RewriteRequest", TURN),
        ("review", "ReviewRequest", {"original": TURN, "rewrite": TURN}),
        ("likelihood", "LikelihoodRequest", {"prompt": "a", "completion": "b"}),
    ],
)
async def test_document_refuses_of_items_what_the_service_refuses(
    route: str, schema: str, item: dict[str, object]
):
    bodies = [{"items": [{"id": "a", **item}]}, {"items": [{"id": "", **item}]}, {"items": []}]
    if route == "rewrite":
        bodies += [
            {"items": [{"id": "a", **item, "sampling": {"seed": seed}}]} for seed in (1.0, 1.5, "1")
        ]
        bodies.append({"items": [{"id": "a", **item, "sampling": {"temperature": True}}]})
    async with in_process(InnerLLM, inner_llm.RUNTIME) as running:
        for body in bodies:
            status = (await running.http.post(f"/v1/{route}", json=body)).status_code
            assert is_valid(of("inner-llm"), schema, body) == (status == 200), body


@pytest.mark.parametrize(
    ("asked", "is_taken"),
    [
        ({}, True),
        ({"n": 2.0}, True),
        ({"n": 9}, False),
        ({"logit_bias": {"7": 1}}, True),
        ({"logit_bias": {"x": 1}}, False),
        ({"messages": [{"role": "user", "content": []}]}, False),
        ({"messages": [{"role": "tool", "content": "a"}]}, False),
        ({"tools": []}, False),
    ],
    ids=str,
)
def test_document_refuses_of_a_chat_what_the_service_refuses(
    asked: dict[str, object], is_taken: bool
):
    body = {"messages": [{"role": "user", "content": "a"}], **asked}
    assert is_valid(of("inner-llm"), "ChatRequest", body) is is_taken
    try:
        chat_request(json.dumps(body).encode())
    except InvalidRequestError:
        assert not is_taken
    else:
        assert is_taken


def is_valid(made: dict, schema: str, body: dict[str, Any]) -> bool:
    """Whether a document's schema takes a body."""
    wanted = {"$ref": f"#/components/schemas/{schema}", "components": made["components"]}
    return jsonschema.Draft202012Validator(wanted).is_valid(body)
