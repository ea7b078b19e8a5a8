"""Reads human preferences in the two released schemas. Decides nothing about pairs.

question: [{"id", "image", "questions": [[turn, ...], ...], "score": [number, ...]}, ...]
answer:   [{"id", "image", "conversations": [{"from": "human", "value"},
            {"from": "gpt", "value": [answer, ...], "score": [number, ...]}, ...]}, ...]
"""

import codecs
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from align2llava.clients.wire.kinds import RewardKind
from align2llava.pipeline.errors import InputError
from align2llava.pipeline.preferences.groups import PreferenceGroup, ScoredCandidate

Json = Mapping[str, object]

_MAX_DIGITS = 400  # of an integer that a float could hold


class _SchemaError(ValueError):
    """An entry does not fit its schema."""


def read_groups(path: Path, kind: RewardKind) -> list[PreferenceGroup]:
    """Returns all groups of a file, in file order.

    Raises:
        InputError: the file is missing, no JSON array, or an entry does not fit the schema or
            holds half a character; the message names the entry, counted from 0.
    """
    read: Callable[[int, Json], Iterator[PreferenceGroup]] = (
        _question_groups if kind == "question-reward" else _answer_groups
    )
    groups: list[PreferenceGroup] = []
    for index, entry in enumerate(_entries(path)):
        try:
            groups += read(index, _mapping(entry))
        except _SchemaError as error:
            raise InputError(f"entry {index}: {error}", path=path) from error
    return groups


def _entries(path: Path) -> list[object]:
    text, num_skipped = _text_of(path)
    try:
        entries: object = json.loads(text, parse_int=_number)
    except json.JSONDecodeError as error:
        offset = num_skipped + len(text[: error.pos].encode())
        raise InputError(f"no JSON: {error.msg}", path=path, offset=offset) from error
    except RecursionError as error:
        raise InputError("no JSON that we read: it is nested too deeply", path=path) from error
    if not _is_list(entries):
        raise InputError("no JSON array", path=path)
    return entries


def _text_of(path: Path) -> tuple[str, int]:
    """Returns a file's text without its byte order mark, and how many bytes that took."""
    try:
        if path.exists() and not path.is_file():
            raise InputError("is no regular file, and has to be read twice", path=path)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError("is UTF-16; UTF-8 is read", path=path)
    text = data.removeprefix(codecs.BOM_UTF8)
    num_skipped = len(data) - len(text)
    try:
        return text.decode(), num_skipped
    except UnicodeDecodeError as error:
        raise InputError("no UTF-8", path=path, offset=num_skipped + error.start) from error


def _number(digits: str) -> int | float:
    """Returns an integer; one beyond every float as infinity, as `1e999` is read."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _question_groups(index: int, entry: Json) -> Iterator[PreferenceGroup]:
    image = _text(entry, "image")
    candidates = [_texts(turns, "questions") for turns in _list(entry, "questions")]
    scores = _scores(entry, len(candidates))
    yield PreferenceGroup(
        entry=index,
        kind="question-reward",
        image=image,
        turn=-1,
        candidates=tuple(
            ScoredCandidate(questions=questions, answer=None, score=score)
            for questions, score in zip(candidates, scores, strict=True)
        ),
    )


def _answer_groups(index: int, entry: Json) -> Iterator[PreferenceGroup]:
    image = _text(entry, "image")
    messages = [_mapping(message) for message in _list(entry, "conversations")]
    if not messages or len(messages) % 2:
        raise _SchemaError(f"conversations has {len(messages)} messages; pairs are needed")
    for turn in range(len(messages) // 2):
        human, gpt = messages[2 * turn], messages[2 * turn + 1]
        if (human.get("from"), gpt.get("from")) != ("human", "gpt"):
            raise _SchemaError(f"turn {turn} is no human message with a gpt message after it")
        question = _text(human, "value")
        answers = _texts(gpt.get("value"), "value")
        scores = _scores(gpt, len(answers))
        yield PreferenceGroup(
            entry=index,
            kind="answer-reward",
            image=image,
            turn=turn,
            candidates=tuple(
                ScoredCandidate(questions=(question,), answer=answer, score=score)
                for answer, score in zip(answers, scores, strict=True)
            ),
        )


def _mapping(value: object) -> Json:
    if not _is_mapping(value):
        raise _SchemaError(f"an object is needed; found {type(value).__name__}")
    return value


def _text(entry: Json, key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _SchemaError(f"{key} must be a text; found {type(value).__name__}")
    return _whole(value, key)


def _whole(text: str, name: str) -> str:
    """Returns a text that can be encoded: JSON can spell half a character, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _SchemaError(
            f"{name} holds a lone surrogate, half a character, at character {error.start}"
        ) from error
    return text


def _list(entry: Json, key: str) -> list[object]:
    value = entry.get(key)
    if not _is_list(value) or not value:
        raise _SchemaError(f"{key} must be a list with at least one element")
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not _is_list(value) or not value:
        raise _SchemaError(f"{name} must be lists of texts")
    texts = tuple(_whole(text, name) for text in value if isinstance(text, str))
    if len(texts) != len(value):
        raise _SchemaError(f"{name} must hold texts only")
    return texts


def _scores(entry: Json, count: int) -> list[float]:
    scores: list[float] = []
    for score in _list(entry, "score"):
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise _SchemaError(f"score must hold numbers; found {type(score).__name__}")
        if not (math.isfinite(score) and 0 <= score <= 1):
            raise _SchemaError(f"score is {score}; it must lie in [0, 1]")
        scores.append(float(score))
    if len(scores) != count:
        raise _SchemaError(f"{count} candidates have {len(scores)} scores")
    return scores


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_mapping(value: object) -> TypeGuard[Json]:
    return isinstance(value, dict)
