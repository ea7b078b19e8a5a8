"""The OpenAPI document: ours, whole, and every example in it can be sent as it stands."""

import json

import jsonschema
import pytest

from align2llava.clients.wire.codes import TABLE, Code
from align2llava.services import answer_reward, inner_llm, question_reward
from align2llava.services.answer_reward import AnswerReward
from align2llava.services.inner_llm import InnerLLM
from align2llava.services.openapi import document
from align2llava.services.question_reward import QuestionReward
from align2llava.services.rest_examples import EXAMPLES, Example
from align2llava.services.settings import ServiceKind
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
