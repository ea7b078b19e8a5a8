"""The deterministic gates between a rewrite and its review. Pure; each is a yes or no about texts.

The gates hold what a model of any quality can get wrong without a judge noticing: a rewrite cut
off, empty, of another length altogether, with the prompt in it, or with other numbers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from align2llava.clients.wire.schemas import RewriteResult, Turn
from align2llava.clients.wire.texts import IMAGE_TOKEN
from align2llava.pipeline.curation.layout import Gate

# Answers that the method leaves alone (arXiv 2503.18320: soft-format answers only).
_HARD_ANSWER = re.compile(
    r"""(?xi) ^ (?:
        (?:yes|no) [.!]?
      | \(? [a-h] [.):]?                       # the letter of a choice
      | [+-]? \d+ (?:[.,/:]\d+)* \s* %? [.]?   # a number
      | [\[({] [\d\s.,;:<>+\-\[\](){}]* [\])}] [.]?   # coordinates
    ) $"""
)
_HARD_QUESTION = re.compile(
    r"(?i)single word or phrase|option's letter|letter from the given choices|answer yes or no"
)
_MAX_SHORT_WORDS = 3
_LEAKS = ("<question", "</question", "<answer", "</answer", "own manner of writing", "tagged parts")
_ROLE_LINE = re.compile(r"(?im)^\s*(?:user|assistant|human|gpt|system)\s*:")
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
_NUMBER = re.compile(r"(?i)\d+(?:[.,]\d+)*|\b(?:" + "|".join(_NUMBER_WORDS) + r")\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """The outcome of each gate that was tried, in order; the first false one ends the trial."""

    outcomes: Mapping[Gate, bool]

    @property
    def passes(self) -> bool:
        """Returns whether every gate was tried and passed."""
        return len(self.outcomes) == len(Gate) and all(self.outcomes.values())


def is_hard_format(turn: Turn) -> bool:
    """Returns whether the answer's form is asked for: yes or no, a choice, a number, coordinates, a phrase."""
    answer = turn.answer.strip()
    if _HARD_QUESTION.search(turn.question) or _HARD_ANSWER.match(answer):
        return True
    return len(answer.split()) <= _MAX_SHORT_WORDS and not answer.endswith((".", "!", "?"))


def gated(original: Turn, result: RewriteResult, *, length_ratio: float) -> Gated:
    """Returns which gates a rewrite of `original` (no hard format) passes."""
    rewrite = result.rewritten
    outcomes: dict[Gate, bool] = {Gate.SOFT_FORMAT: True, Gate.PARSED: rewrite is not None}
    if rewrite is None:
        return Gated(outcomes=outcomes)
    trials = (
        (Gate.FINISHED, lambda: result.finish_reason != "length"),
        (Gate.NON_EMPTY, lambda: bool(rewrite.question.strip() and rewrite.answer.strip())),
        (Gate.LENGTH, lambda: _is_similar_in_length(original, rewrite, length_ratio)),
        (Gate.NO_LEAK, lambda: not _leaks(original, rewrite)),
        (Gate.IMAGE_TOKEN, lambda: IMAGE_TOKEN not in rewrite.question + rewrite.answer),
        (Gate.NUMBERS, lambda: _numbers(original) == _numbers(rewrite)),
    )
    for gate, passes in trials:
        outcomes[gate] = passes()
        if not outcomes[gate]:
            break
    return Gated(outcomes=outcomes)


def _is_similar_in_length(original: Turn, rewrite: Turn, ratio: float) -> bool:
    pairs = ((original.question, rewrite.question), (original.answer, rewrite.answer))
    # Two short sentences may differ by a few words whatever their ratio.
    return all(
        len(new) <= ratio * len(old) + 40 and len(old) <= ratio * len(new) + 40
        for old, new in pairs
    )


def _leaks(original: Turn, rewrite: Turn) -> bool:
    before = f"{original.question}\n{original.answer}".casefold()
    after = f"{rewrite.question}\n{rewrite.answer}"
    if any(leak in after.casefold() and leak not in before for leak in _LEAKS):
        return True
    return bool(_ROLE_LINE.search(after)) and not _ROLE_LINE.search(before)


def _numbers(turn: Turn) -> frozenset[str]:
    """Returns the numbers a turn states, words and digits alike; one is left out (also an article)."""
    found: list[str] = _NUMBER.findall(f"{turn.question}\n{turn.answer}")
    return frozenset(_digits(word.casefold()) for word in found) - {"1"}


def _digits(number: str) -> str:
    if number in _NUMBER_WORDS:
        return str(_NUMBER_WORDS.index(number))
    return number.replace(",", "")
