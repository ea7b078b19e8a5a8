"""Word-level difference of two texts, for showing a rewrite beside its original. Pure."""

import difflib
import re
from dataclasses import dataclass

MAX_WORDS = 400  # the comparison is quadratic


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of text that the other side shares, or does not."""

    text: str
    is_changed: bool


def word_diff(before: str, after: str) -> tuple[list[Segment], list[Segment]]:
    """Returns both texts as segments; joined, each side's texts are the text it came from.

    Texts above `MAX_WORDS` words come back whole, marked as changed if they differ.
    """
    old, new = re.findall(r"\s*\S+|\s+$", before), re.findall(r"\s*\S+|\s+$", after)
    if max(len(old), len(new)) > MAX_WORDS:
        is_changed = before != after
        return [Segment(text=before, is_changed=is_changed)], [
            Segment(text=after, is_changed=is_changed)
        ]
    matcher = difflib.SequenceMatcher(
        None, [word.strip() for word in old], [word.strip() for word in new], autojunk=False
    )
    left: list[Segment] = []
    right: list[Segment] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        _append(left, old[i1:i2], is_changed=tag != "equal")
        _append(right, new[j1:j2], is_changed=tag != "equal")
    return left, right


def _append(segments: list[Segment], words: list[str], *, is_changed: bool) -> None:
    if words:
        segments.append(Segment(text="".join(words), is_changed=is_changed))
