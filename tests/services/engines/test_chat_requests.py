import json

import pytest

from align2llava.services.engines.chat_requests import MAX_BODY_BYTES, chat_request
from align2llava.services.errors import InvalidRequestError

USER = [{"role": "user", "content": "Is there a red star?"}]


def body(**asked: object) -> bytes:
    return json.dumps({"messages": USER, **asked}).encode()


def test_what_is_asked_for_is_passed_on_and_nothing_else():
    asked = chat_request(body(n=2, stop=["."], logit_bias={"7": -100}, stream=True, seed=-1))
    assert json.loads(asked.model_dump_json(exclude_unset=True)) == {
        "messages": USER,
        "n": 2,
        "stop": ["."],
        "logit_bias": {"7": -100.0},
        "stream": True,
        "seed": -1,
    }


def test_answer_of_a_client_that_spells_out_what_it_does_not_ask_for_is_taken_back():
    answered = {"role": "assistant", "content": "Yes.", "refusal": None, "tool_calls": []}
    asked = chat_request(
        body(messages=[*USER, answered, *USER], response_format={"type": "text"}, tools=None)
    )
    assert [message.role for message in asked.messages] == ["user", "assistant", "user"]


def test_whole_number_is_one_however_it_is_written():
    asked = chat_request(body(n=2.0, seed=-1.0, max_tokens=1e2))
    assert (asked.n, asked.seed, asked.max_tokens) == (2, -1, 100)


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        pytest.param({"response_format": {"type": "json_object"}}, "response_format", id="json"),
        pytest.param(
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format",
            id="schema",
        ),
        pytest.param({"structured_outputs": {"json": {}}}, "structured_outputs", id="structured"),
        pytest.param({"guided_json": {}}, "guided_json", id="guided json"),
        pytest.param({"guided_grammar": "a ::= b"}, "guided_grammar", id="guided grammar"),
        pytest.param({"tools": []}, "tools", id="tools"),
        pytest.param({"tool_choice": "required"}, "tool_choice", id="tool choice"),
        pytest.param({"chat_template": "{{ 1 }}"}, "chat_template", id="template"),
        pytest.param({"use_beam_search": True}, "use_beam_search", id="beams"),
        pytest.param({"prompt_logprobs": 1}, "prompt_logprobs", id="prompt logprobs"),
        pytest.param({"bad_words": ["a"]}, "bad_words", id="bad words"),
        pytest.param({"n": 9}, "n", id="rollouts"),
        pytest.param({"n": True}, "n", id="no number"),
        pytest.param({"n": 1.5}, "n", id="no whole number"),
        pytest.param({"max_tokens": 0}, "max_tokens", id="no tokens"),
        pytest.param({"max_completion_tokens": 2**40}, "max_completion_tokens", id="tokens"),
        pytest.param({"min_tokens": 2000}, "min_tokens", id="least tokens"),
        pytest.param({"temperature": -1}, "temperature", id="temperature"),
        pytest.param({"top_logprobs": 21}, "top_logprobs", id="logprobs"),
        pytest.param({"stop": ["a"] * 17}, "stop", id="stops"),
        pytest.param({"stop": ["a" * 257]}, "stop", id="a long stop"),
        pytest.param({"stop": ""}, "stop", id="an empty stop"),
        pytest.param({"logit_bias": {str(n): 1 for n in range(301)}}, "logit_bias", id="biases"),
        pytest.param({"logit_bias": {"x": 1}}, "logit_bias", id="a bias of no token"),
        pytest.param({"seed": 2**63}, "seed", id="seed"),
        pytest.param({"messages": []}, "messages", id="no message"),
        pytest.param({"messages": USER * 257}, "messages", id="messages"),
        pytest.param({"messages": [{"role": "user"}]}, "messages.0.content", id="no content"),
        pytest.param(
            {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", id="role"
        ),
        pytest.param(
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
                ]
            },
            "messages.0.content",
            id="image",
        ),
    ],
)
def test_what_is_not_taken_is_refused_by_its_place(asked: dict[str, object], place: str):
    with pytest.raises(InvalidRequestError, match=rf"\b{place}\b"):
        chat_request(body(**asked))


@pytest.mark.parametrize(
    "refused",
    [b"", b"{", b"[NaN]", b'"\\ud800"', b"[" * 100_000, b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"],
    ids=["empty", "cut", "nan", "surrogate", "deep", "deep for the writer"],
)
def test_body_that_is_no_json_is_invalid(refused: bytes):
    with pytest.raises(InvalidRequestError, match="the body is no JSON we can read: "):
        chat_request(refused)


def test_largest_body_of_faults_is_told_in_few_words():
    members = ",".join(f'"{n}":1' for n in range(25_000)).encode()
    refused = b"{" + members + b"}"
    assert MAX_BODY_BYTES * 0.9 < len(refused) <= MAX_BODY_BYTES
    with pytest.raises(InvalidRequestError, match=r"and \d+ more") as error:
        chat_request(refused)
    assert len(error.value.message) < 500
