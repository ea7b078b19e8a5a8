"""Records: what one input element says, or what is wrong with it. Pure; knows no files.

A record that cannot be used is a `Fault`, which lies in the record itself: its code is one of
`DriverCode` and its message says what, which and the limit.
"""

import hashlib
import json
from typing import NamedTuple, NoReturn

import orjson

from align2llava.clients.wire.texts import IMAGE_TOKEN, without_image_tokens
from align2llava.pipeline.curation.faults import DriverCode, Fault
from align2llava.pipeline.curation.input.types import TypeRule, type_of
from align2llava.pipeline.curation.layout import UNKNOWN_TYPE

_MEDIA_TOKENS = ("<video>", "<audio>", "<speech>")
# What other data sets call what this version does not read, and what they call an image.
_MEDIA_KEYS = frozenset(
    ("video", "videos", "video_path", "audio", "audios", "audio_path", "sound", "speech", "point")
)
_OTHER_IMAGE_KEYS = frozenset(
    (
        "image_path",
        "image_paths",
        "image_file",
        "image_files",
        "image_url",
        "image_name",
        "img_path",
    )
)
_MAX_SHOWN_KEYS = 8


class RecordTurn(NamedTuple):
    """One question and its candidate answers, all without `<image>` and stripped."""

    question: str
    answers: tuple[str, ...]


class Record(NamedTuple):
    """One usable record; `image` is the path as written, None = text only.

    `num_image_tokens`: how many `<image>` its questions hold; trainers want one for each image.
    """

    image: str | None
    turns: tuple[RecordTurn, ...]
    num_image_tokens: int = 0

    @property
    def questions(self) -> tuple[str, ...]:
        """Returns the human turns in order."""
        return tuple(turn.question for turn in self.turns)


class Reading(NamedTuple):
    """What was read from one element.

    `canonical` (sorted keys, for the uid) and `id_json` are None where it cannot be parsed;
    `image` is the one path it names, valid or not.
    """

    canonical: bytes | None
    id_json: str | None
    type: str
    type_rule: TypeRule
    image: str | None
    outcome: Record | Fault

    @classmethod
    def unparsed(cls, fault: Fault) -> "Reading":
        """Returns what is known of bytes that are no JSON."""
        return cls(
            canonical=None,
            id_json=None,
            type=UNKNOWN_TYPE,
            type_rule=TypeRule.NONE,
            image=None,
            outcome=fault,
        )


class _InvalidError(Exception):
    def __init__(self, code: DriverCode, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(code=code, message=message)


def read_record(raw: bytes, *, configured_type: str, max_text_chars: int) -> Reading:
    """Returns what an element says; never raises for what stands in it."""
    try:
        value: object = orjson.loads(raw)
        canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        return Reading.unparsed(_no_json(raw, error))
    fields = value if isinstance(value, dict) else {}
    outcome = _outcome(fields, max_text_chars) if isinstance(value, dict) else _no_object(value)
    is_record = isinstance(outcome, Record)
    questions = outcome.questions if is_record else _readable_questions(fields)
    kind, rule = type_of(configured_type, own=fields.get("type"), questions=questions)
    return Reading(
        canonical=canonical,
        id_json=orjson.dumps(fields["id"]).decode() if "id" in fields else None,
        type=kind,
        type_rule=rule,
        image=outcome.image if is_record else _readable_image(fields),
        outcome=outcome,
    )


def outcome_of(raw: bytes, *, max_text_chars: int) -> Record | Fault:
    """Returns what `read_record` says of an element besides its uid, id and type; cheaper."""
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return _no_json(raw, error)
    return _outcome(value, max_text_chars) if isinstance(value, dict) else _no_object(value)


def uid_of(canonical: bytes, *, image_sha256: str) -> str:
    """Returns a record's uid: hex blake2b-128 of its canonical JSON, a zero byte, its image's hash."""
    return hashlib.blake2b(
        canonical + b"\0" + image_sha256.encode("ascii"), digest_size=16
    ).hexdigest()


def _no_json(raw: bytes, error: Exception) -> Fault:
    constant = _constant_in(raw)
    why = str(error) if constant is None else f"{constant} is no JSON value; null would be one"
    return Fault(code=DriverCode.INVALID_JSON, message=f"no JSON: {why}")


def _constant_in(raw: bytes) -> str | None:
    """Returns the NaN or infinity that Python's json writes into a record, None where there is none."""
    try:
        json.loads(raw, parse_int=str, parse_constant=_found)
    except _ConstantError as error:
        return str(error)
    except (ValueError, RecursionError):
        return None
    return None


class _ConstantError(Exception):
    """A constant that Python's json reads and JSON does not know."""


def _found(constant: str) -> NoReturn:
    raise _ConstantError(constant)


def _no_object(value: object) -> Fault:
    return _invalid(f"a record is an object, this is a {type(value).__name__}").fault


def _invalid(message: str) -> _InvalidError:
    return _InvalidError(DriverCode.INVALID_RECORD, message)


def _outcome(value: dict[str, object], max_text_chars: int) -> Record | Fault:
    try:
        _check_media(value)
        image = _image(value)
        turns = _turns(value)
        _check_length(turns, max_text_chars)
        if image is None:
            _check_text_only(value, turns)
    except _InvalidError as error:
        return error.fault
    return Record(image=image, turns=turns, num_image_tokens=_num_image_tokens(value))


def _check_media(value: dict[str, object]) -> None:
    if _MEDIA_KEYS.isdisjoint(value):
        return
    found = sorted(key for key in _MEDIA_KEYS.intersection(value) if value[key])
    if found:
        message = f"the record has {' and '.join(found)}; this version reads images only"
        raise _InvalidError(DriverCode.UNSUPPORTED_MEDIA, message)


def _check_text_only(value: dict[str, object], turns: tuple[RecordTurn, ...]) -> None:
    """Refuses what names no image and is no record of text only all the same."""
    others = sorted(key for key in _OTHER_IMAGE_KEYS.intersection(value) if value[key])
    if others:
        raise _invalid(f"the record has no image, but {others[0]}; the key is image")
    text = "".join(turn.question for turn in turns)
    media = next((token for token in _MEDIA_TOKENS if token in text), None)
    if media is not None:
        message = f"a question holds {media}; this version reads images only"
        raise _InvalidError(DriverCode.UNSUPPORTED_MEDIA, message)


def _num_image_tokens(value: dict[str, object]) -> int:
    conversations = value["conversations"]
    assert isinstance(conversations, list)  # `_turns` looked at it
    texts = (message["value"] for message in conversations[::2])
    return sum(text.count(IMAGE_TOKEN) for text in texts)


def _check_length(turns: tuple[RecordTurn, ...], limit: int) -> None:
    num_chars = sum(len(turn.question) + sum(map(len, turn.answers)) for turn in turns)
    if num_chars > limit:
        message = f"the turns have {num_chars} characters; the limit is {limit}"
        raise _InvalidError(DriverCode.TOO_LARGE, message)


def _image(value: dict[str, object]) -> str | None:
    image = value.get("image", value.get("images"))
    if isinstance(image, list):
        if len(image) > 1:
            message = f"the record has {len(image)} images; this version reads one"
            raise _InvalidError(DriverCode.UNSUPPORTED_MULTI_IMAGE, message)
        image = image[0] if image else None
    if image is not None and not isinstance(image, str):
        raise _invalid(f"image is a path, this is a {type(image).__name__}")
    return image or None  # an empty path names no image: text only, as others read it


def _turns(value: dict[str, object]) -> tuple[RecordTurn, ...]:
    conversations = value.get("conversations")
    if not isinstance(conversations, list) or not conversations:
        raise _invalid(_no_turn(value))
    turns: list[RecordTurn] = []
    for at in range(0, len(conversations), 2):
        question = _message(conversations, at, role="human")
        if at + 1 == len(conversations):
            raise _invalid(f"the last of {len(conversations)} messages has no answer")
        answer = _message(conversations, at + 1, role="gpt")
        turns.append(
            RecordTurn(
                question=_text(question, f"question {at // 2}"), answers=_answers(answer, at // 2)
            )
        )
    return tuple(turns)


def _no_turn(value: dict[str, object]) -> str:
    if "conversations" in value:
        return "conversations has no turn"
    if "messages" in value:
        return (
            "no conversations, but messages: write them as conversations, each with from (human, "
            "gpt) and value"
        )
    keys = [f"{key!r:.40}" for key in value][:_MAX_SHOWN_KEYS]
    return f"no conversations; the keys are {', '.join(keys) or 'none'}"


def _message(conversations: list[object], at: int, *, role: str) -> object:
    message = conversations[at]
    if not isinstance(message, dict):
        raise _invalid(f"message {at} is no object")
    if message.get("from") != role:
        raise _invalid(_wrong_role(message, at, role=role))
    return message.get("value")


def _wrong_role(message: dict[str, object], at: int, *, role: str) -> str:
    sender = message.get("from", message.get("role"))
    if sender == "system":
        return (
            f"message {at} is a system turn, which is not supported: leave it out, or put its text "
            "into the first question"
        )
    if "from" not in message and "role" in message:
        return f"message {at} has role and content; from (human, gpt) and value are due"
    if isinstance(sender, str) and sender.casefold() in ("user", "assistant", "bot", "chatgpt"):
        return f"message {at} is from {sender!r}; the roles are human and gpt"
    return f"message {at} is from {sender!r:.40}; {role} is due"


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _invalid(f"{name} is no text, but a {type(value).__name__}")
    text = without_image_tokens(value)
    if not text:
        raise _invalid(f"{name} is empty")
    return text


def _answer(value: object, name: str) -> str:
    if isinstance(value, str) and IMAGE_TOKEN in value:
        raise _invalid(f"{name} holds {IMAGE_TOKEN}, at which trainers stop")
    return _text(value, name)


def _answers(value: object, turn: int) -> tuple[str, ...]:
    if not isinstance(value, list):
        return (_answer(value, f"answer {turn}"),)
    if not value:
        raise _invalid(f"answer {turn} has no candidate")
    return tuple(
        _answer(answer, f"candidate {at} of answer {turn}") for at, answer in enumerate(value)
    )


def _readable_questions(value: dict[str, object]) -> tuple[str, ...]:
    """Returns the human texts of a record that is invalid all the same, for its type."""
    conversations = value.get("conversations")
    if not isinstance(conversations, list):
        return ()
    texts = (
        message.get("value")
        for message in conversations
        if isinstance(message, dict) and message.get("from") == "human"
    )
    return tuple(without_image_tokens(text) for text in texts if isinstance(text, str))


def _readable_image(value: dict[str, object]) -> str | None:
    try:
        return _image(value)
    except _InvalidError:
        return None
