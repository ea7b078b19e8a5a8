"""One request for each route of each service that can be sent as it stands, and its reply.

The replies are those of the checkpoints of `examples/blocks`. Knows no transport.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from align2llava.clients.wire.kinds import ServiceKind
from align2llava.clients.wire.schemas import (
    LikelihoodRequest,
    LikelihoodResponse,
    Message,
    ModelIdentity,
    ReviewRequest,
    ReviewResponse,
    RewriteRequest,
    RewriteResponse,
    ScoreRequest,
    ScoreResponse,
)
from align2llava.services.engines.chat_requests import ChatRequest

Json = Mapping[str, object]

# A red square on grey, 144 x 144 pixels.
_SQUARE = (
    "iVBORw0KGgoAAAANSUhEUgAAAJAAAACQAgMAAACaKAorAAAADFBMVEXk5uzWMDGMGBwsXtYpEhZKAAAAU0lEQVR4"
    "2u3UsQ2AMAxE0R/EBtki+yBlnIzBDtkRUlCZCjdU/3W2TtfZIEmSlFDi2AYAVw/b7UvTHsd7AlDJNxkyZOj/0OuC"
    "y/H8gjPfJEmSlLIAImsF6UmCIx8AAAAASUVORK5CYII="
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A route with a request for it and a reply; no schema of a reply that another project defines."""

    method: Literal["GET", "POST"]
    path: str
    summary: str
    request: Json | None = None  # none: a GET
    reply: Json
    takes: type[BaseModel] | None = None
    gives: type[Message] | None = None


def _model(kind: ServiceKind, *, identity: str, weights_sha256: str, engine: str) -> Json:
    return {
        "name": f"blocks-{kind}",
        "kind": kind,
        "identity": identity,
        "weights_sha256": weights_sha256,
        "dtype": "float32",
        "template_version": "align2llava-1",
        "engine": engine,
        "server_version": "",
        "purpose": "the blocks world of examples/blocks only; rewards of other images mean nothing",
    }


_TORCH = "torch 2.13.0+cpu transformers 5.19.0 a2l_blocks"
_QUESTION_MODEL = _model(
    "question-reward",
    identity="2376c323cc8ee5dba746a0b61999cefd",
    weights_sha256="4f26514997786d5d3e7f6f280ece3eece4df96fd4c232c65b0ea77e150dac8da",
    engine=_TORCH,
)
_ANSWER_MODEL = _model(
    "answer-reward",
    identity="cd0b16a55b2f7d726e005133f3fc95d6",
    weights_sha256="a7d1e56f145a549ac354d58e5caf4dd41d172cdeccef4637c965c8de6e2b5a03",
    engine=_TORCH,
)


def _scored(model: Json, rewards: Mapping[str, float], *, num_tokens: int, suffix: int) -> Json:
    items = [
        {"id": id_, "reward": reward, "num_tokens": num_tokens, "truncated": False}
        for id_, reward in rewards.items()
    ]
    usage = {"prefix_tokens": 10, "suffix_tokens": suffix, "device_ms": 16.6}
    return {"model": model, "groups": [{"items": items, "usage": usage}]}


def _about_model(model: Json) -> Example:
    return Example(
        method="GET",
        path="/v1/model",
        summary="Which model answers.",
        reply=model,
        gives=ModelIdentity,
    )


_QUESTIONS = Example(
    method="POST",
    path="/v1/score",
    summary="A reward, higher is better, or an error for each item: an image and all human turns.",
    request={
        "groups": [
            {
                "image": {"data": _SQUARE},
                "items": [
                    {"id": "a", "questions": ["What color is the square?"]},
                    {"id": "b", "questions": ["What can you tell me?"]},
                ],
            }
        ]
    },
    reply=_scored(
        _QUESTION_MODEL,
        {"a": 2.6737046241760254, "b": -0.11112158745527267},
        num_tokens=17,
        suffix=12,
    ),
    takes=ScoreRequest,
    gives=ScoreResponse,
)
_COLOR = "What color is the square?"
_ANSWERS = Example(
    method="POST",
    path="/v1/score",
    summary="A reward, higher is better, or an error for each item: an image, a question, an answer.",
    request={
        "groups": [
            {
                "image": {"data": _SQUARE},
                "items": [
                    {"id": "a", "question": _COLOR, "answer": "The square is red."},
                    {"id": "b", "question": _COLOR, "answer": "The square is blue."},
                ],
            }
        ]
    },
    reply=_scored(
        _ANSWER_MODEL,
        {"a": 3.7835934162139893, "b": -0.46425092220306396},
        num_tokens=27,
        suffix=19,
    ),
    takes=ScoreRequest,
    gives=ScoreResponse,
)


_LLM_MODEL: Json = {
    "name": "inner-llm",
    "kind": "inner-llm",
    "identity": "9de98c4c54c34e3275be5a760bdd5f71",
    "weights_sha256": "270e0b1168e781cc5a385a5b09e0fa02350d5dd9056c10ff36d54d7471c669b2",
    "dtype": "float32",
    "template_version": "1",
    "engine": "vllm 0.32.0",
    "server_version": "",
    "purpose": "the blocks world of examples/blocks only; rewrites of other texts mean nothing",
}
_LLM = (
    Example(
        method="POST",
        path="/v1/rewrite",
        summary="One rewrite of a turn, the completion where it holds none, or an error for each item.",
        request={
            "items": [
                {
                    "id": "a",
                    "question": "Tell me the color of the star.",
                    "answer": "Its color is yellow.",
                }
            ]
        },
        reply={
            "model": _LLM_MODEL,
            "items": [
                {
                    "id": "a",
                    "rewritten": {
                        "question": "What color is the star?",
                        "answer": "The star is yellow.",
                    },
                    "num_prompt_tokens": 23,
                    "num_completion_tokens": 17,
                    "finish_reason": "stop",
                    "sampling": {"temperature": 0.0, "seed": 0, "max_tokens": 87},
                }
            ],
            "device_ms": 3857.6692970000295,
        },
        takes=RewriteRequest,
        gives=RewriteResponse,
    ),
    Example(
        method="POST",
        path="/v1/review",
        summary="Which of two versions of a turn reads better, asked in both orders.",
        request={
            "items": [
                {
                    "id": "a",
                    "original": {
                        "question": "Tell me the color of the star.",
                        "answer": "Its color is yellow.",
                    },
                    "rewrite": {
                        "question": "Can you see which color the star has?",
                        "answer": "Sure, the star has the color yellow.",
                    },
                }
            ]
        },
        reply={
            "model": _LLM_MODEL,
            "items": [
                {
                    "id": "a",
                    "reviewed": {
                        "verdict": "original",
                        "original_first": "original",
                        "rewrite_first": "original",
                    },
                    "num_prompt_tokens": 118,
                    "num_completion_tokens": 4,
                }
            ],
            "device_ms": 171.05027300021902,
        },
        takes=ReviewRequest,
        gives=ReviewResponse,
    ),
    Example(
        method="POST",
        path="/v1/likelihood",
        summary="The negative log-likelihood of a completion after a prompt, in nats.",
        request={
            "items": [
                {
                    "id": "a",
                    "prompt": "Can you see a red star?",
                    "completion": " Yes, I can see a red star here.",
                }
            ]
        },
        reply={
            "model": _LLM_MODEL,
            "items": [{"id": "a", "nll": 82.49140328168869, "num_tokens": 12}],
            "device_ms": 109.01666300014767,
        },
        takes=LikelihoodRequest,
        gives=LikelihoodResponse,
    ),
    Example(
        method="POST",
        path="/v1/chat/completions",
        summary="OpenAI's chat completion, streamed too; the model is named by /v1/models.",
        request={
            "messages": [{"role": "user", "content": "Can you see a red star?"}],
            "max_tokens": 16,
            "temperature": 0,
        },
        reply={
            "id": "chatcmpl-869e081801a882ff",
            "object": "chat.completion",
            "created": 1795812606,
            "model": "inner-llm",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "DoA"},
                    "finish_reason": "stop",
                }
            ],
            "system_fingerprint": "vllm-0.32.0-29aae3ce",
            "usage": {"prompt_tokens": 9, "total_tokens": 12, "completion_tokens": 3},
        },
        takes=ChatRequest,
    ),
    Example(
        method="GET",
        path="/v1/models",
        summary="The name of the model, in OpenAI's form.",
        reply={
            "object": "list",
            "data": [
                {
                    "id": "inner-llm",
                    "object": "model",
                    "created": 1795812606,
                    "owned_by": "vllm",
                    "root": "",
                    "max_model_len": 1024,
                    "permission": [
                        {
                            "id": "modelperm-89111c895b637d9c",
                            "object": "model_permission",
                            "created": 1795812606,
                            "allow_create_engine": False,
                            "allow_sampling": True,
                            "allow_logprobs": True,
                            "allow_search_indices": False,
                            "allow_view": True,
                            "allow_fine_tuning": False,
                            "organization": "*",
                            "is_blocking": False,
                        }
                    ],
                }
            ],
        },
    ),
)

DESCRIPTIONS: dict[ServiceKind, str] = {
    "question-reward": "Scores questions about images: an image and all human turns of a record.",
    "answer-reward": "Scores answers: an image, a question and its answer.",
    "inner-llm": "The language model inside the MLLM, text only: rewrite, review, likelihood, chat.",
}
EXAMPLES: dict[ServiceKind, tuple[Example, ...]] = {
    "question-reward": (_QUESTIONS, _about_model(_QUESTION_MODEL)),
    "answer-reward": (_ANSWERS, _about_model(_ANSWER_MODEL)),
    "inner-llm": (*_LLM, _about_model(_LLM_MODEL)),
}
"""What each service answers, the route to begin with first."""
