"""The REST bodies, and the values that both surfaces and both clients speak.

Field names are those of `align2llava.proto`. In JSON an image's `data` is base64 (with line
breaks or as a data URI too), in msgpack bytes; a oneof is its one member at top level; absent
members are left out. Knows no transport.

Answers are held to what can be stored, shown and added up: numbers have ranges, names and messages an end,
and of a list that does not fit only the first fault is told.
"""

import base64
import hashlib
from enum import StrEnum
from typing import Annotated, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict

from align2llava.clients.wire.wording import cut

SHA256_PATTERN = r"^[0-9a-f]{64}$"
MAX_REWARD = 1e6  # of either sign; squares and sums of as many as a run has stay numbers
MAX_NLL = 1e9  # a million tokens, each all but impossible
_YEAR_MS = 366 * 24 * 3600 * 1e3


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        # Rare forms, looked at only where the plain one fails.
        return _decoded_loosely(value)


def _decoded_loosely(text: str) -> bytes:
    """Returns the bytes of base64 with line breaks, or of a `data:...;base64,` URI.

    Raises:
        ValueError: it is neither.
    """
    if text[:5].lower() == "data:":
        kind, _, text = text.partition(",")
        if not kind.lower().endswith(";base64"):
            raise ValueError("data is a data URI without `;base64,`")
    text = "".join(text.split())
    if "-" in text or "_" in text:
        raise ValueError("data is base64 of the URL-safe alphabet (-, _); it takes that of + and /")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"data is not base64: {error}") from error


ImageData = Annotated[
    bytes,
    BeforeValidator(_decoded),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), when_used="json"),
    WithJsonSchema({"type": "string", "format": "byte", "contentEncoding": "base64"}),
]
Reward = Annotated[float, Field(ge=-MAX_REWARD, le=MAX_REWARD, allow_inf_nan=False)]
NegativeLogLikelihood = Annotated[float, Field(ge=-MAX_NLL, le=MAX_NLL, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, le=_YEAR_MS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**32 - 1)]  # uint32 of the proto
# Of uint64: what every JSON reader holds exactly.
LargeCount = Annotated[int, Field(ge=0, le=2**53)]
Name = Annotated[str, Field(max_length=1024)]
T = TypeVar("T")


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# JSON has one kind of number: 1.0 is a whole one. A strict field takes it by this, and still no text.
WHOLE = BeforeValidator(_whole)
# All that is wrong with a long list would be far longer than the list: its first fault is enough.
Many = Annotated[tuple[T, ...], FailFast()]
# What services refuse themselves, in words that name the group: declared for those who read the schema.
Id = Annotated[str, Field(json_schema_extra={"minLength": 1})]
Some = Annotated[tuple[T, ...], FailFast(), Field(json_schema_extra={"minItems": 1})]
_HAS_DATA: JsonDict = {"required": ["data"], "properties": {"data": {"type": "string"}}}
_HAS_HASH: JsonDict = {"required": ["sha256"], "properties": {"sha256": {"minLength": 64}}}


class Message(BaseModel):
    """One message of the wire: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _require_one(message: BaseModel, names: tuple[str, ...]) -> None:
    values = message.__dict__
    num_present = sum(values[name] is not None for name in names)
    if num_present != 1:
        raise ValueError(f"exactly one of {', '.join(names)} is needed; found {num_present}")


class Image(Message):
    """An encoded image, or its hash alone where the service already holds it.

    Without `sha256` the hash is taken from `data`.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": [_HAS_DATA, _HAS_HASH]})

    sha256: Annotated[
        str,
        Field(pattern=SHA256_PATTERN, json_schema_extra={"pattern": r"^([0-9a-f]{64})?$"}),
    ] = ""
    data: ImageData | None = None

    @model_validator(mode="before")
    @classmethod
    def _hashed(cls, value: object) -> object:
        if not isinstance(value, dict) or value.get("sha256"):
            return cast("object", value)
        given = cast("dict[str, object]", value)
        data = _decoded(given.get("data"))
        if data is None:
            raise ValueError("an image needs `data`, or the `sha256` of data sent before")
        if not isinstance(data, bytes):
            return given
        return {**given, "data": data, "sha256": hashlib.sha256(data).hexdigest()}


class Item(Message):
    """One candidate: `questions` for question-reward, `question` and `answer` for answer-reward."""

    id: Id
    questions: Many[str] = ()
    question: str | None = None
    answer: str | None = None


class Group(Message):
    """One image and its candidates, answered in this order."""

    image: Image | None = None
    items: Some[Item]


class ScoreRequest(Message):
    """Asks for the rewards of all items of all groups."""

    groups: Some[Group]


class ErrorBody(Message):
    """An error of one item, or the body of a failed request."""

    code: Annotated[str, Field(max_length=64)]
    message: Annotated[str, AfterValidator(cut)]
    retry_after_ms: Count = 0


class ItemReward(Message):
    """The outcome of one item: a reward (higher is better) or an error."""

    id: str
    reward: Reward | None = None
    error: ErrorBody | None = None
    num_tokens: Count = 0
    truncated: bool = False

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        _require_one(self, ("reward", "error"))
        return self


class Usage(Message):
    """Tokens computed for a group and its share of the device's time in ms."""

    prefix_tokens: LargeCount = 0
    suffix_tokens: LargeCount = 0
    device_ms: Milliseconds = 0.0


class GroupRewards(Message):
    """Outcomes in the order of the group's items."""

    items: Many[ItemReward]
    usage: Usage = Usage()


class ModelIdentity(Message):
    """Which model answered; `identity` is equal exactly where the numbers are meant to be equal."""

    name: Name
    kind: Name
    identity: Name
    weights_sha256: Name
    dtype: Name
    template_version: Name = ""
    engine: Name = ""
    server_version: Name = ""
    purpose: Name = ""  # what the model's card says it is for; decides no number


class ScoreResponse(Message):
    """Rewards in the order of the request's groups."""

    model: ModelIdentity
    groups: Many[GroupRewards]


class Turn(Message):
    """One question and its answer."""

    question: str
    answer: str


class Sampling(Message):
    """How a completion was drawn; `max_tokens` 0 = bounded by the input's length."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**64 - 1, strict=True), WHOLE] = 0
    max_tokens: Annotated[int, Field(ge=0, le=2**32 - 1, strict=True), WHOLE] = 0


class RewriteItem(Message):
    """A turn to be put into the inner LLM's own words; no `sampling` = greedy."""

    id: Id
    question: str
    answer: str
    sampling: Sampling | None = None


class RewriteRequest(Message):
    """Asks for one rewrite of each item."""

    items: Some[RewriteItem]


class RewriteResult(Message):
    """The rewritten turn, the completion where it holds no turn, or an error."""

    id: str
    rewritten: Turn | None = None
    error: ErrorBody | None = None
    unparsed: str | None = None
    num_prompt_tokens: Count = 0
    num_completion_tokens: Count = 0
    finish_reason: Name = ""
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        _require_one(self, ("rewritten", "error", "unparsed"))
        return self


class RewriteResponse(Message):
    """Rewrites in the order of the request."""

    model: ModelIdentity
    items: Many[RewriteResult]
    device_ms: Milliseconds = 0.0


class Verdict(StrEnum):
    """The review's choice."""

    ORIGINAL = "original"
    REWRITE = "rewrite"


class ReviewItem(Message):
    """Two versions of one turn, between which the inner LLM chooses."""

    id: Id
    original: Turn
    rewrite: Turn


class ReviewRequest(Message):
    """Asks for one verdict on each item, taken in both orders."""

    items: Some[ReviewItem]


class Reviewed(Message):
    """The choices of both orders; `verdict` is `rewrite` only where both agree on it."""

    verdict: Verdict
    original_first: Verdict
    rewrite_first: Verdict


class ReviewResult(Message):
    """The verdicts on one item, or an error."""

    id: str
    reviewed: Reviewed | None = None
    error: ErrorBody | None = None
    num_prompt_tokens: Count = 0
    num_completion_tokens: Count = 0

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        _require_one(self, ("reviewed", "error"))
        return self


class ReviewResponse(Message):
    """Verdicts in the order of the request."""

    model: ModelIdentity
    items: Many[ReviewResult]
    device_ms: Milliseconds = 0.0


class LikelihoodItem(Message):
    """A prompt and a completion, both verbatim (no template)."""

    id: Id
    prompt: str
    completion: str


class LikelihoodRequest(Message):
    """Asks for the negative log-likelihood of each completion after its prompt."""

    items: Some[LikelihoodItem]


class LikelihoodResult(Message):
    """`nll` in nats, summed over the completion's `num_tokens` tokens; or an error."""

    id: str
    nll: NegativeLogLikelihood | None = None
    error: ErrorBody | None = None
    num_tokens: Count = 0

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        _require_one(self, ("nll", "error"))
        return self


class LikelihoodResponse(Message):
    """Likelihoods in the order of the request."""

    model: ModelIdentity
    items: Many[LikelihoodResult]
    device_ms: Milliseconds = 0.0
