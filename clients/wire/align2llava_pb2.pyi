from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_ORIGINAL: _ClassVar[Verdict]
    VERDICT_REWRITE: _ClassVar[Verdict]
VERDICT_UNSPECIFIED: Verdict
VERDICT_ORIGINAL: Verdict
VERDICT_REWRITE: Verdict

class Image(_message.Message):
    __slots__ = ("sha256", "data")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    data: bytes
    def __init__(self, sha256: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "questions", "question", "answer")
    ID_FIELD_NUMBER: _ClassVar[int]
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    id: str
    questions: _containers.RepeatedScalarFieldContainer[str]
    question: str
    answer: str
    def __init__(self, id: _Optional[str] = ..., questions: _Optional[_Iterable[str]] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("image", "items")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    image: Image
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    def __init__(self, groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    retry_after_ms: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class ItemReward(_message.Message):
    __slots__ = ("id", "reward", "error", "num_tokens", "truncated")
    ID_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    id: str
    reward: float
    error: Error
    num_tokens: int
    truncated: bool
    def __init__(self, id: _Optional[str] = ..., reward: _Optional[float] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., num_tokens: _Optional[int] = ..., truncated: _Optional[bool] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prefix_tokens", "suffix_tokens", "device_ms")
    PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MS_FIELD_NUMBER: _ClassVar[int]
    prefix_tokens: int
    suffix_tokens: int
    device_ms: float
    def __init__(self, prefix_tokens: _Optional[int] = ..., suffix_tokens: _Optional[int] = ..., device_ms: _Optional[float] = ...) -> None: ...

class GroupRewards(_message.Message):
    __slots__ = ("items", "usage")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ItemReward]
    usage: Usage
    def __init__(self, items: _Optional[_Iterable[_Union[ItemReward, _Mapping]]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("model", "groups")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    model: ModelIdentity
    groups: _containers.RepeatedCompositeFieldContainer[GroupRewards]
    def __init__(self, model: _Optional[_Union[ModelIdentity, _Mapping]] = ..., groups: _Optional[_Iterable[_Union[GroupRewards, _Mapping]]] = ...) -> None: ...

class ScoreStreamRequest(_message.Message):
    __slots__ = ("request_id", "deadline_ms", "request")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    deadline_ms: int
    request: ScoreRequest
    def __init__(self, request_id: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., request: _Optional[_Union[ScoreRequest, _Mapping]] = ...) -> None: ...

class ScoreStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: ScoreResponse
    error: Error
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[ScoreResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("question", "answer")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    question: str
    answer: str
    def __init__(self, question: _Optional[str] = ..., answer: _Optional[str] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "seed", "max_tokens")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    seed: int
    max_tokens: int
    def __init__(self, temperature: _Optional[float] = ..., seed: _Optional[int] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class RewriteItem(_message.Message):
    __slots__ = ("id", "question", "answer", "sampling")
    ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    id: str
    question: str
    answer: str
    sampling: Sampling
    def __init__(self, id: _Optional[str] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ...) -> None: ...

class RewriteRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[RewriteItem]
    def __init__(self, items: _Optional[_Iterable[_Union[RewriteItem, _Mapping]]] = ...) -> None: ...

class RewriteResult(_message.Message):
    __slots__ = ("id", "rewritten", "error", "unparsed", "num_prompt_tokens", "num_completion_tokens", "finish_reason", "sampling")
    ID_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    UNPARSED_FIELD_NUMBER: _ClassVar[int]
    NUM_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    id: str
    rewritten: Turn
    error: Error
    unparsed: str
    num_prompt_tokens: int
    num_completion_tokens: int
    finish_reason: str
    sampling: Sampling
    def __init__(self, id: _Optional[str] = ..., rewritten: _Optional[_Union[Turn, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., unparsed: _Optional[str] = ..., num_prompt_tokens: _Optional[int] = ..., num_completion_tokens: _Optional[int] = ..., finish_reason: _Optional[str] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ...) -> None: ...

class RewriteResponse(_message.Message):
    __slots__ = ("model", "items", "device_ms")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MS_FIELD_NUMBER: _ClassVar[int]
    model: ModelIdentity
    items: _containers.RepeatedCompositeFieldContainer[RewriteResult]
    device_ms: float
    def __init__(self, model: _Optional[_Union[ModelIdentity, _Mapping]] = ..., items: _Optional[_Iterable[_Union[RewriteResult, _Mapping]]] = ..., device_ms: _Optional[float] = ...) -> None: ...

class ReviewItem(_message.Message):
    __slots__ = ("id", "original", "rewrite")
    ID_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    REWRITE_FIELD_NUMBER: _ClassVar[int]
    id: str
    original: Turn
    rewrite: Turn
    def __init__(self, id: _Optional[str] = ..., original: _Optional[_Union[Turn, _Mapping]] = ..., rewrite: _Optional[_Union[Turn, _Mapping]] = ...) -> None: ...

class ReviewRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ReviewItem]
    def __init__(self, items: _Optional[_Iterable[_Union[ReviewItem, _Mapping]]] = ...) -> None: ...

class Reviewed(_message.Message):
    __slots__ = ("verdict", "original_first", "rewrite_first")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIRST_FIELD_NUMBER: _ClassVar[int]
    REWRITE_FIRST_FIELD_NUMBER: _ClassVar[int]
    verdict: Verdict
    original_first: Verdict
    rewrite_first: Verdict
    def __init__(self, verdict: _Optional[_Union[Verdict, str]] = ..., original_first: _Optional[_Union[Verdict, str]] = ..., rewrite_first: _Optional[_Union[Verdict, str]] = ...) -> None: ...

class ReviewResult(_message.Message):
    __slots__ = ("id", "reviewed", "error", "num_prompt_tokens", "num_completion_tokens")
    ID_FIELD_NUMBER: _ClassVar[int]
    REVIEWED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NUM_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    id: str
    reviewed: Reviewed
    error: Error
    num_prompt_tokens: int
    num_completion_tokens: int
    def __init__(self, id: _Optional[str] = ..., reviewed: _Optional[_Union[Reviewed, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., num_prompt_tokens: _Optional[int] = ..., num_completion_tokens: _Optional[int] = ...) -> None: ...

class ReviewResponse(_message.Message):
    __slots__ = ("model", "items", "device_ms")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MS_FIELD_NUMBER: _ClassVar[int]
    model: ModelIdentity
    items: _containers.RepeatedCompositeFieldContainer[ReviewResult]
    device_ms: float
    def __init__(self, model: _Optional[_Union[ModelIdentity, _Mapping]] = ..., items: _Optional[_Iterable[_Union[ReviewResult, _Mapping]]] = ..., device_ms: _Optional[float] = ...) -> None: ...

class LikelihoodItem(_message.Message):
    __slots__ = ("id", "prompt", "completion")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    id: str
    prompt: str
    completion: str
    def __init__(self, id: _Optional[str] = ..., prompt: _Optional[str] = ..., completion: _Optional[str] = ...) -> None: ...

class LikelihoodRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[LikelihoodItem]
    def __init__(self, items: _Optional[_Iterable[_Union[LikelihoodItem, _Mapping]]] = ...) -> None: ...

class LikelihoodResult(_message.Message):
    __slots__ = ("id", "nll", "error", "num_tokens")
    ID_FIELD_NUMBER: _ClassVar[int]
    NLL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    id: str
    nll: float
    error: Error
    num_tokens: int
    def __init__(self, id: _Optional[str] = ..., nll: _Optional[float] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., num_tokens: _Optional[int] = ...) -> None: ...

class LikelihoodResponse(_message.Message):
    __slots__ = ("model", "items", "device_ms")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MS_FIELD_NUMBER: _ClassVar[int]
    model: ModelIdentity
    items: _containers.RepeatedCompositeFieldContainer[LikelihoodResult]
    device_ms: float
    def __init__(self, model: _Optional[_Union[ModelIdentity, _Mapping]] = ..., items: _Optional[_Iterable[_Union[LikelihoodResult, _Mapping]]] = ..., device_ms: _Optional[float] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelIdentity(_message.Message):
    __slots__ = ("name", "kind", "identity", "weights_sha256", "dtype", "template_version", "engine", "server_version", "purpose")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    identity: str
    weights_sha256: str
    dtype: str
    template_version: str
    engine: str
    server_version: str
    purpose: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., identity: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., dtype: _Optional[str] = ..., template_version: _Optional[str] = ..., engine: _Optional[str] = ..., server_version: _Optional[str] = ..., purpose: _Optional[str] = ...) -> None: ...
