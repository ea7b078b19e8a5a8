"""Reads human preferences in the two released schemas. Decides nothing about pairs.

question: [{"id", "image", "questions": [[turn, ...], ...], "score": [number, ...]}, ...]
answer:   [{"id", "image", "conversations": [{"from": "human", "value"},
            {"from": "gpt", "value": [answer, ...], "score": [number, ...]}, ...]}, ...]
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from pipeline.errors import InputError
from pipeline.preferences.groups import PreferenceGroup, ScoredCandidate
from services.reward_model.inputs import RewardKind

Json = Mapping[str, object]


class _SchemaError(ValueError):
    """An entry does not fit its schema."""


def read_groups(path: Path, kind: RewardKind) -> list[PreferenceGroup]:
    """Returns all groups of a file, in file order.

    Raises:
        InputError: the file is missing, no JSON array, or an entry does not fit the schema; the
            message names the entry, counted from 0.
    """
    read: Callable[[Json], Iterator[PreferenceGroup]] = (
        _question_groups if kind == "question-reward" else _answer_groups
    )
    groups: list[PreferenceGroup] = []
    for index, entry in enumerate(_entries(path)):
        try:
            groups += read(_mapping(entry))
        except _SchemaError as error:
            raise InputError(f"entry {index}: {error}", path=path) from error
    return groups


def _entries(path: Path) -> list[object]:
    try:
        entries: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except json.JSONDecodeError as error:
        raise InputError(f"no JSON: {error.msg}", path=path, offset=error.pos) from error
    except UnicodeDecodeError as error:
        raise InputError("no UTF-8", path=path, offset=error.start) from error
    if not _is_list(entries):
        raise InputError("no JSON array", path=path)
    return entries


def _question_groups(entry: Json) -> Iterator[PreferenceGroup]:
    image = _text(entry, "image")
    candidates = [_texts(turns, "questions") for turns in _list(entry, "questions")]
    scores = _scores(entry, len(candidates))
    yield PreferenceGroup(
        kind="question-reward",
        image=image,
        turn=-1,
        candidates=tuple(
            ScoredCandidate(questions=questions, answer=None, score=score)
            for questions, score in zip(candidates, scores, strict=True)
        ),
    )


def _answer_groups(entry: Json) -> Iterator[PreferenceGroup]:
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
    return value


def _list(entry: Json, key: str) -> list[object]:
    value = entry.get(key)
    if not _is_list(value) or not value:
        raise _SchemaError(f"{key} must be a list with at least one element")
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    if not _is_list(value) or not value:
        raise _SchemaError(f"{name} must be lists of texts")
    texts = tuple(text for text in value if isinstance(text, str))
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
