"""Records: what one input element says, or what is wrong with it. Pure; knows no files.

A record that cannot be used is a `Fault`, which lies in the record itself: its code is one of
`DriverCode` and its message says what, which and the limit.
"""

import hashlib
from typing import NamedTuple

import orjson

from pipeline.curation.layout import UNKNOWN_TYPE, DriverCode
from pipeline.curation.record_types import type_of

IMAGE_TOKEN = "<image>"  # noqa: S105 (LLaVA's placeholder, no secret)


class Fault(NamedTuple):
    """Why a record goes to quarantine; `code` is of `DriverCode` or of the wire table."""

    code: str
    message: str


class RecordTurn(NamedTuple):
    """One question and its candidate answers, all without `<image>` and stripped."""

    question: str
    answers: tuple[str, ...]


class Record(NamedTuple):
    """One usable record; `image` is the path as written, None = text only."""

    image: str | None
    turns: tuple[RecordTurn, ...]

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
    image: str | None
    outcome: Record | Fault

    @classmethod
    def unparsed(cls, fault: Fault) -> "Reading":
        """Returns what is known of bytes that are no JSON."""
        return cls(canonical=None, id_json=None, type=UNKNOWN_TYPE, image=None, outcome=fault)


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
        return Reading.unparsed(_no_json(error))
    if not isinstance(value, dict):
        fault = _no_object(value)
        kind = type_of(configured_type, own=None, questions=())
        return Reading(canonical=canonical, id_json=None, type=kind, image=None, outcome=fault)
    outcome = _outcome(value, max_text_chars)
    questions = outcome.questions if isinstance(outcome, Record) else _readable_questions(value)
    return Reading(
        canonical=canonical,
        id_json=orjson.dumps(value["id"]).decode() if "id" in value else None,
        type=type_of(configured_type, own=value.get("type"), questions=questions),
        image=outcome.image if isinstance(outcome, Record) else _readable_image(value),
        outcome=outcome,
    )


def outcome_of(raw: bytes, *, max_text_chars: int) -> Record | Fault:
    """Returns what `read_record` says of an element besides its uid, id and type; cheaper."""
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return _no_json(error)
    return _outcome(value, max_text_chars) if isinstance(value, dict) else _no_object(value)


def uid_of(canonical: bytes, *, image_sha256: str) -> str:
    """Returns a record's uid: hex blake2b-128 of its canonical JSON, a zero byte, its image's hash."""
    return hashlib.blake2b(
        canonical + b"\0" + image_sha256.encode("ascii"), digest_size=16
    ).hexdigest()


def clean(text: str) -> str:
    """Returns a text without `<image>`, stripped: as models and prompts see it."""
    return text.replace(IMAGE_TOKEN, "").strip()


def _no_json(error: Exception) -> Fault:
    return Fault(code=DriverCode.INVALID_JSON, message=f"no JSON: {error}")


def _no_object(value: object) -> Fault:
    return _invalid(f"a record is an object, this is a {type(value).__name__}").fault


def _invalid(message: str) -> _InvalidError:
    return _InvalidError(DriverCode.INVALID_RECORD, message)


def _outcome(value: dict[str, object], max_text_chars: int) -> Record | Fault:
    try:
        image = _image(value)
        turns = _turns(value.get("conversations"))
        _check_length(turns, max_text_chars)
    except _InvalidError as error:
        return error.fault
    return Record(image=image, turns=turns)


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


def _turns(conversations: object) -> tuple[RecordTurn, ...]:
    if not isinstance(conversations, list) or not conversations:
        raise _invalid("conversations has no turn")
    if len(conversations) % 2:
        raise _invalid(f"the last of {len(conversations)} messages has no answer")
    return tuple(
        RecordTurn(
            question=_text(_message(conversations, at, role="human"), f"question {at // 2}"),
            answers=_answers(_message(conversations, at + 1, role="gpt"), at // 2),
        )
        for at in range(0, len(conversations), 2)
    )


def _message(conversations: list[object], at: int, *, role: str) -> object:
    message = conversations[at]
    if not isinstance(message, dict):
        raise _invalid(f"message {at} is no object")
    if message.get("from") != role:
        raise _invalid(f"message {at} is from {message.get('from')!r:.40}; {role} is due")
    return message.get("value")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _invalid(f"{name} is no text")
    text = clean(value)
    if not text:
        raise _invalid(f"{name} is empty")
    return text


def _answers(value: object, turn: int) -> tuple[str, ...]:
    if not isinstance(value, list):
        return (_text(value, f"answer {turn}"),)
    if not value:
        raise _invalid(f"answer {turn} has no candidate")
    return tuple(
        _text(answer, f"candidate {at} of answer {turn}") for at, answer in enumerate(value)
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
    return tuple(clean(text) for text in texts if isinstance(text, str))


def _readable_image(value: dict[str, object]) -> str | None:
    try:
        return _image(value)
    except _InvalidError:
        return None
