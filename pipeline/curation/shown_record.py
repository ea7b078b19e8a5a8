"""One record as the browsing page shows it: its messages as they stand, bounded, and its standing. Pure.

Knows no dialect's rules: a record that is in quarantine may be of any shape.
"""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import orjson

from align2llava.pipeline.curation.layout import RewardStage

MAX_CHARS = 1000  # of one text
MAX_TEXTS = 24  # of one record, candidates counted
MAX_RAW_CHARS = 2000
MAX_NAMES = 4  # images


class ShownRecord(TypedDict):
    """What a part holds of a record; keys that say nothing are left out.

    `messages`: role, candidates (one where there is no choice), and the text that goes out where it is
    another one. A stage: reward, rank, cut. `raw`: its text where it has no messages.
    """

    position: int
    uid: str | None
    id: str | None
    images: NotRequired[list[str]]
    messages: NotRequired[list[tuple[str, list[str], str | None]]]
    num_more: NotRequired[int]
    raw: NotRequired[str]
    message: NotRequired[str]
    question: NotRequired[tuple[object, object, object]]
    answer: NotRequired[tuple[object, object, object]]


def shown_record(
    cells: Mapping[str, object], *, raw: bytes, out: bytes, message: str | None
) -> ShownRecord:
    """Returns a record of the decisions; `out` are its bytes in the dataset, `raw` where it is in none."""
    shown = ShownRecord(
        position=int(str(cells["position"])),
        uid=_text(cells["uid"]),
        id=None if cells["id"] is None else bounded(str(cells["id"])),
    )
    if message is not None:
        shown["message"] = bounded(message)
    _add_standings(shown, cells)
    value = _parsed(raw)
    goes_out = None if out == raw else _parsed(out)
    _add_texts(shown, value, goes_out)
    if "messages" not in shown:
        shown["raw"] = raw[: 4 * MAX_RAW_CHARS].decode(errors="replace")[:MAX_RAW_CHARS]
    return shown


def _add_standings(shown: ShownRecord, cells: Mapping[str, object]) -> None:
    if cells["question_rank"] is not None:
        shown["question"] = _standing(cells, RewardStage.QUESTION)
    if cells["answer_rank"] is not None:
        shown["answer"] = _standing(cells, RewardStage.ANSWER)


def _standing(cells: Mapping[str, object], stage: RewardStage) -> tuple[object, object, object]:
    return cells[f"{stage}_reward"], cells[f"{stage}_rank"], cells[f"{stage}_cut"]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _parsed(raw: bytes) -> dict[str, object]:
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _add_texts(
    shown: ShownRecord, value: Mapping[str, object], goes_out: Mapping[str, object] | None
) -> None:
    names = _texts(value.get("image"))
    if names:
        shown["images"] = names[:MAX_NAMES]
    messages = _messages(value)
    after = _messages(goes_out) if goes_out else []
    told: list[tuple[str, list[str], str | None]] = []
    left = MAX_TEXTS
    for at, (role, texts) in enumerate(messages):
        if left < len(texts):
            shown["num_more"] = len(messages) - at
            break
        left -= len(texts)
        new = after[at][1][0] if at < len(after) and after[at][1] != texts else None
        told.append((role, [bounded(one) for one in texts], None if new is None else bounded(new)))
    if told:
        shown["messages"] = told


def _messages(value: Mapping[str, object]) -> list[tuple[str, list[str]]]:
    """Returns role and texts of each message, none where one of them has no text."""
    conversations = value.get("conversations")
    if not isinstance(conversations, list):
        return []
    found: list[tuple[str, list[str]]] = []
    for one in conversations:
        texts = _texts(one.get("value")) if isinstance(one, dict) else []
        if not texts:
            return []
        found.append((str(one.get("from"))[:32], texts))
    return found


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def bounded(text: str) -> str:
    """Returns a text of `MAX_CHARS` characters at most; a longer one says how many more it has."""
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[:MAX_CHARS]} [and {len(text) - MAX_CHARS:,} more characters]"
