"""The type rule: which of LLaVA's kinds of instruction a record is. Pure."""

import re
from enum import StrEnum
from typing import NamedTuple

from align2llava.pipeline.curation.layout import UNKNOWN_TYPE

CONVERSATION = "conversation"
DETAIL = "detail"
COMPLEX_REASONING = "complex_reasoning"

# Facts, in LLaVA's order. Source: arXiv 2304.08485, tables 11 (brief) and 12 (detailed), and the
# questions that occur in its published detail_23k.json.
_BRIEF = (
    "Describe the image concisely",
    "Provide a brief description of the given image",
    "Offer a succinct explanation of the picture presented",
    "Summarize the visual content of the image",
    "Give a short and clear explanation of the subsequent image",
    "Share a concise interpretation of the image provided",
    "Present a compact description of the photo's key features",
    "Relay a brief, clear account of the picture shown",
    "Render a clear and concise summary of the photo",
    "Write a terse but informative summary of the picture",
    "Create a compact narrative representing the image presented",
)
_DETAILED = (
    "Describe the following image in detail",
    "Provide a detailed description of the given image",
    "Give an elaborate explanation of the image you see",
    "Share a comprehensive rundown of the presented image",
    "Offer a thorough analysis of the image",
    "Explain the various aspects of the image before you",
    "Clarify the contents of the displayed image with great detail",
    "Characterize the image using a well-detailed description",
    "Break down the elements of the image in a detailed manner",
    "Walk through the important details of the image",
    "Portray the image with a rich, descriptive narrative",
    "Narrate the contents of the image with precision",
    "Analyze the image in a comprehensive and detailed manner",
    "Illustrate the image through a descriptive explanation",
    "Examine the image closely and share its details",
    "Write an exhaustive depiction of the given image",
)
_PUBLISHED = (
    "Describe the following image",
    "Describe the following scene",
    "Write a detailed description of the given image",
    "Explain the visual content of the image in great detail",
    "What is this photo about?",
    "What is in the photo?",
    "What do you see happening in this image?",
    "What's happening in the scene?",
    "What are the key elements in this picture?",
    "What do you think is going on in this snapshot?",
    "Can you elaborate on the elements of the picture provided?",
    "Can you describe the main features of this image for me?",
)


_ASKED_SINCE = (  # by data sets that were made like it
    "Describe the image in detail",
    "Describe the image in as much detail as possible",
    "Describe the image thoroughly",
    "Describe what you see in the image",
    "Describe everything you see in the image",
    "Describe everything in the image",
    "What do you see in the image?",
    "Write a description of the image",
)
# The same requests in other words: each word stands for the first of its line.
_SAME = (
    ("image", "picture", "photo", "photograph", "pic", "snapshot"),
    ("what is", "what's"),
    ("the", "this", "a", "an", "that", "these"),
    ("describe", "depict"),
    ("detail", "details", "depth"),
    ("detailed", "in-depth", "elaborate", "thorough", "comprehensive", "exhaustive"),
    ("give", "provide", "offer", "share", "write", "generate", "create", "present"),
    ("description", "depiction", "explanation"),
    # Words that change nothing, as in "the following image" and "the image shown above".
    ("", "following", "given", "provided", "presented", "displayed", "shown", "attached", "please"),
    ("", "above", "below", "subsequent", "great", "full", "much", "very"),
)
_WORD = {word: line[0] for line in _SAME for word in line[1:]}
_ASKED_POLITELY = re.compile(r"^(?:(?:can|could|would|will) you )?")
_NO_WORD = re.compile(r"[^\w'-]+")
_MAX_CHARS = 120  # of a template; a longer question is none


def _normal(question: str) -> str:
    words = _NO_WORD.sub(" ", question.casefold().replace("\u2019", "'")).split()
    same = " ".join(filter(None, (_WORD.get(word, word) for word in words)))
    return _ASKED_POLITELY.sub("", same)


DETAIL_TEMPLATES = frozenset(
    _normal(text) for text in (*_BRIEF, *_DETAILED, *_PUBLISHED, *_ASKED_SINCE)
)


class TypeRule(StrEnum):
    """What a record's type was told by."""

    CONFIG = "config"
    OWN = "own"
    TURNS = "turns"
    TEMPLATE = "template"
    OTHER = "other"
    NONE = "none"


class Typed(NamedTuple):
    """A record's type, and what it was told by."""

    type: str
    rule: TypeRule


def type_of(configured: str, *, own: object, questions: tuple[str, ...]) -> Typed:
    """Returns a record's type: the config's, else its own `type` field, else by its questions.

    More than one question = conversation; one of LLaVA's requests for a description, in its words
    or in such as mean the same = detail; any other question = complex_reasoning; none = unknown.
    """
    if configured != "auto":
        return Typed(configured, TypeRule.CONFIG)
    if isinstance(own, str) and own:
        return Typed(own, TypeRule.OWN)
    if not questions:
        return Typed(UNKNOWN_TYPE, TypeRule.NONE)
    first, *others = questions
    if others:
        return Typed(CONVERSATION, TypeRule.TURNS)
    if len(first) <= _MAX_CHARS and _normal(first) in DETAIL_TEMPLATES:
        return Typed(DETAIL, TypeRule.TEMPLATE)
    return Typed(COMPLEX_REASONING, TypeRule.OTHER)
