"""One record as the browsing page shows it: its messages as they stand, bounded. Pure.

Knows no dialect's rules: a record that is in quarantine may be of any shape. All of it runs once for each
record of a run; what nearly every message needs is therefore done in place, without a call.
"""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import orjson

MAX_CHARS = 1000  # of one text
MAX_TEXTS = 24  # of one record, candidates counted
MAX_RAW_CHARS = 2000
MAX_NAMES = 4  # images
_MAX_ROLE_CHARS = 32

Message = tuple[str, list[str], str | None]


class ShownRecord(TypedDict):
    """What a part holds of a record's texts; keys that say nothing are left out.

    `messages`: role, candidates (one where there is no choice), and the text that goes out where it is
    another one. `raw`: its text where it has no messages. `message`: why it is in quarantine.
    """

    images: NotRequired[list[str]]
    messages: NotRequired[list[Message]]
    num_more: NotRequired[int]
    raw: NotRequired[str]
    message: NotRequired[str]


def shown_record(raw: bytes, *, out: bytes, message: str | None) -> ShownRecord:
    """Returns what is shown of a record; `out` are its bytes in the dataset, `raw` where it is in none."""
    shown = ShownRecord()
    if message is not None:
        shown["message"] = bounded(message)
    value = _parsed(raw)
    names = _texts(value.get("image"))
    if names:
        shown["images"] = names[:MAX_NAMES]
    messages = _messages(value)
    if out != raw:
        messages = _beside(messages, _messages(_parsed(out)))
    told = _cut(messages)
    if len(told) < len(messages):
        shown["num_more"] = len(messages) - len(told)
    if told:
        shown["messages"] = told
    else:
        shown["raw"] = raw[: 4 * MAX_RAW_CHARS].decode(errors="replace")[:MAX_RAW_CHARS]
    return shown


def _parsed(raw: bytes) -> dict[str, object]:
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _messages(value: Mapping[str, object]) -> list[Message]:
    """Returns the messages, whole and as they stand; none where one of them has no text."""
    conversations = value.get("conversations")
    if not isinstance(conversations, list):
        return []
    found: list[Message] = []
    for one in conversations:
        if not isinstance(one, dict):
            return []
        text, role = one.get("value"), one.get("from")
        texts = [text] if isinstance(text, str) else _texts(text)
        if not texts:
            return []
        role = role if isinstance(role, str) else str(role)
        found.append((role[:_MAX_ROLE_CHARS], texts, None))
    return found


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _beside(messages: list[Message], after: list[Message]) -> list[Message]:
    """Returns the messages, beside each the text that goes out where it is another one."""
    num_missing = len(messages) - len(after)
    goes_out = [texts for _, texts, _ in after] + [None] * num_missing
    return [
        (role, texts, None if new is None or new == texts else new[0])
        for (role, texts, _), new in zip(messages, goes_out, strict=False)
    ]


def _cut(messages: list[Message]) -> list[Message]:
    """Returns the first messages, which have `MAX_TEXTS` texts at most together, each text bounded."""
    told: list[Message] = []
    left = MAX_TEXTS
    for message in messages:
        role, texts, new = message
        left -= len(texts)
        if left < 0:
            break
        for at, text in enumerate(texts):
            if len(text) > MAX_CHARS:
                texts[at] = bounded(text)
        told.append(message if new is None else (role, texts, bounded(new)))
    return told


def bounded(text: str) -> str:
    """Returns a text of `MAX_CHARS` characters at most; a longer one says how many more it has."""
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:MAX_CHARS]} [and {len(text) - MAX_CHARS:,} more characters]"
