"""The prompts of rewrite and review, and the reading of their completions. Pure; knows no engine.

A turn stands between tags, `<question>..</question>` and `<answer>..</answer>`; in its texts `&`
and `<` are escaped as in XML, so that no text can close its tag, open another or spell a special
token such as `</s>`. The original prompts of the paper are not published; these say what it
describes: adapt to one's own manner, keep the meaning, unchanged is allowed.
Source: arXiv 2409.18541, figure 2; arXiv 2503.18320 for the wording.
"""

import re
from enum import StrEnum

from align2llava.clients.wire.schemas import Reviewed, Turn, Verdict
from align2llava.services.engines.api import ChatMessage
from align2llava.services.errors import InternalError

# Goes up with every change of a text below: it is part of the model's identity.
TEMPLATE_VERSION = "1"

REWRITE_INSTRUCTION = (
    "Below are a question about an image and its answer. Rewrite both in your own manner of "
    "writing. Keep the meaning and every fact, and add none. If they already read as you would "
    "write them, return them unchanged. Reply with the two tagged parts only."
)
REVIEW_INSTRUCTION = (
    "Below are two versions of a question about an image and its answer: the original and a "
    "rewrite. Choose the rewrite only if it keeps every fact of the original, adds none, and "
    "reads more like your own manner of writing. Reply with the letter of your choice only."
)
CHOICES = ("A", "B")  # the letter of the version shown first, and of the second

_ENTITY = re.compile(r"&(?:amp|lt);")
_PARTS = re.compile(r"<question>(.*?)</question>\s*<answer>(.*?)</answer>", re.DOTALL)
_TAG = re.compile(r"</?(?:question|answer)>")


class ReviewOrder(StrEnum):
    """Which version a review prompt shows first."""

    ORIGINAL_FIRST = "original_first"
    REWRITE_FIRST = "rewrite_first"


def rewrite_messages(turn: Turn) -> tuple[ChatMessage, ...]:
    """Returns the chat prompt that asks for a rewrite of `turn`."""
    return (ChatMessage(role="user", content=f"{REWRITE_INSTRUCTION}\n\n{tagged(turn)}"),)


def parse_rewrite(completion: str) -> Turn | None:
    """Returns the turn a completion holds, or None where it holds none or more than one.

    Text around the two parts is ignored (models like to announce what they do); each tag must
    occur exactly once, the parts in order and neither of them blank.
    """
    if len(_TAG.findall(completion)) != 4:
        return None
    parts = _PARTS.search(completion)
    if parts is None:
        return None
    question, answer = (_unescaped(part).strip() for part in parts.groups())
    if not question or not answer:
        return None
    return Turn(question=question, answer=answer)


def review_messages(
    original: Turn, rewrite: Turn, *, order: ReviewOrder
) -> tuple[ChatMessage, ...]:
    """Returns the chat prompt that asks for a choice between two versions, shown in `order`."""
    versions = [("original", original), ("rewrite", rewrite)]
    if order is ReviewOrder.REWRITE_FIRST:
        versions.reverse()
    shown = [
        f"{letter} ({name}):\n{tagged(turn)}"
        for letter, (name, turn) in zip(CHOICES, versions, strict=True)
    ]
    content = "\n\n".join([REVIEW_INSTRUCTION, *shown])
    return (ChatMessage(role="user", content=content),)


def verdict_of(choice: str, *, order: ReviewOrder) -> Verdict:
    """Returns what the letter `choice` means for a review prompt shown in `order`.

    Raises:
        InternalError: `choice` is no letter of `CHOICES`, although decoding is constrained to them.
    """
    if choice not in CHOICES:
        raise InternalError(f"review answered {choice[:40]!r}; the choices are A and B")
    chose_first = choice == CHOICES[0]
    if chose_first is (order is ReviewOrder.ORIGINAL_FIRST):
        return Verdict.ORIGINAL
    return Verdict.REWRITE


def combined(*, original_first: Verdict, rewrite_first: Verdict) -> Reviewed:
    """Returns the verdict of both orders: the rewrite only where both agree on it."""
    both = original_first is Verdict.REWRITE and rewrite_first is Verdict.REWRITE
    return Reviewed(
        verdict=Verdict.REWRITE if both else Verdict.ORIGINAL,
        original_first=original_first,
        rewrite_first=rewrite_first,
    )


def default_max_tokens(num_prompt_tokens: int) -> int:
    """Returns the bound on a completion where the caller set none: the prompt's length and 64."""
    return num_prompt_tokens + 64


def tagged(turn: Turn) -> str:
    """Returns a turn between its tags, as a prompt shows it and a rewrite answers it."""
    return (
        f"<question>{_escaped(turn.question)}</question>\n<answer>{_escaped(turn.answer)}</answer>"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _unescaped(text: str) -> str:
    # One pass, so that an escaped "&amp;lt;" comes back as "&lt;" and not as "<".
    return _ENTITY.sub(lambda entity: "&" if entity[0] == "&amp;" else "<", text)
