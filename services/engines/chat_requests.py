"""What inner-llm takes of OpenAI's chat completion: these fields, each within its bound.

vLLM takes more: grammars, which its core compiles in one thread for as long as they take while every review
waits, tools, templates, beams. What is not named here is refused before it gets there. Knows no transport
and imports no vLLM.
"""

from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from align2llava.clients.wire.schemas import WHOLE
from align2llava.services.errors import InvalidRequestError
from align2llava.services.faults import described

MAX_BODY_BYTES = 256 * 2**10  # some 60,000 tokens; contexts hold 8192 unless told otherwise
MAX_TOKENS = 1024  # no completion is longer, whatever it asks for
MAX_ROLLOUTS = 8  # the largest `n`

_MAX_MESSAGES = 256
_MAX_ASKED_TOKENS = 2**20  # clients ask for "many"; the engine stops at MAX_TOKENS
_MAX_STOPS = 16  # each is looked for in the text after each token
_MAX_STOP_CHARS = 256
_MAX_BIASES = 300  # OpenAI's own bound
_MAX_TOP_LOGPROBS = 20  # OpenAI's own bound, and vLLM's
_MAX_NAME_CHARS = 512

_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Name = Annotated[str, Field(max_length=_MAX_NAME_CHARS)]
_Stop = Annotated[str, Field(min_length=1, max_length=_MAX_STOP_CHARS)]
_NumTokens = Annotated[int, Field(ge=1, le=_MAX_ASKED_TOKENS), WHOLE]


class _Bounded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ChatText(_Bounded):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(_Bounded):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: (
        str
        | Annotated[
            tuple[ChatText, ...], Field(min_length=1, max_length=_MAX_MESSAGES, fail_fast=True)
        ]
    )
    name: _Name | None = None


class ChatFormat(_Bounded):
    """The one form of answers: text."""

    type: Literal["text"]


class ChatStreamOptions(_Bounded):
    """What a stream tells beside its text."""

    include_usage: bool | None = None


class ChatRequest(_Bounded):
    """A chat completion that is taken."""

    messages: Annotated[
        tuple[ChatMessage, ...], Field(min_length=1, max_length=_MAX_MESSAGES, fail_fast=True)
    ]
    model: _Name | None = None
    user: _Name | None = None
    n: Annotated[int, Field(ge=1, le=MAX_ROLLOUTS), WHOLE] = 1
    max_tokens: _NumTokens | None = None
    max_completion_tokens: _NumTokens | None = None
    min_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS), WHOLE] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**20), WHOLE] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), WHOLE] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: (
        _Stop | Annotated[tuple[_Stop, ...], Field(max_length=_MAX_STOPS, fail_fast=True)] | None
    ) = None
    ignore_eos: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=_MAX_TOP_LOGPROBS), WHOLE] | None = None
    logit_bias: (
        Annotated[
            dict[
                Annotated[str, Field(pattern=r"^[0-9]{1,7}$")],
                Annotated[float, Field(ge=-100, le=100)],
            ],
            # What pydantic does not say of a mapping by itself.
            Field(max_length=_MAX_BIASES, json_schema_extra={"additionalProperties": False}),
        ]
        | None
    ) = None
    stream: bool | None = None
    stream_options: ChatStreamOptions | None = None
    response_format: ChatFormat | None = None


def chat_request(body: bytes) -> ChatRequest:
    """Returns what a body asks for; members that are null, and empty ones of messages, count as not given.

    Raises:
        InvalidRequestError: no JSON (NaN and lone surrogates are none), a field that is not taken, or one
            outside its bound.
    """
    try:
        given = orjson.dumps(_given(orjson.loads(body)))
    except (
        orjson.JSONDecodeError,
        orjson.JSONEncodeError,
    ) as error:  # the second: nested too deeply
        raise InvalidRequestError(f"the body is no JSON we can read: {error}") from error
    try:
        return ChatRequest.model_validate_json(given)
    except ValidationError as error:
        raise InvalidRequestError(described(error)) from error


def _given(asked: object) -> object:
    """Returns a request without what clients spell out though they do not ask for it.

    OpenAI's own client sends back whole messages of answers: `refusal: null`, `tool_calls: []`.
    """
    if not isinstance(asked, dict):
        return asked
    given = {key: value for key, value in asked.items() if value is not None}
    if isinstance(messages := given.get("messages"), list):
        given["messages"] = [
            {key: value for key, value in one.items() if value not in (None, [])}
            if isinstance(one, dict)
            else one
            for one in messages
        ]
    return given
