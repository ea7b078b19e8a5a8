"""What the reward models read: the prompt texts and their tokens. No torch, no image bytes.

InputTextError(ValueError)
  +-- EmptyTextError     nothing to score: no question, an empty question or an empty answer
  +-- LongTextError      more characters than the checkpoint accepts

Serving and training build their inputs here and nowhere else.
Source of the texts: the released scoring code of arXiv 2409.18541.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.texts import without_image_tokens

PROMPT_VERSION = "align2llava-1"


class InputTextError(ValueError):
    """A text cannot be scored."""


class EmptyTextError(InputTextError):
    """A question or an answer that must not be empty is empty."""


class LongTextError(InputTextError):
    """A text has more characters than the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLimits:
    """How long an input may be."""

    max_length: int  # tokens, image tokens included; longer sequences lose their end
    max_chars: int  # characters of the prompt; longer prompts are refused


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """Token ids that no text produces."""

    bos: int
    pad: int
    image: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageInput:
    """An image as a vision tower reads it."""

    pixels: NDArray[np.float32]  # [C, H, W], or the patches of a family that takes any size
    num_tokens: int  # places that it takes in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One sequence as the language model reads it; image positions hold the image id."""

    ids: tuple[int, ...]
    truncated: bool


def question_prompt(questions: Sequence[str]) -> str:
    """Returns what the question-reward model reads after the image: all human turns, one a line.

    Raises:
        EmptyTextError: there is no question, or one is empty.
    """
    if not questions:
        raise EmptyTextError("a question candidate needs at least one question; found 0")
    cleaned = [without_image_tokens(question) for question in questions]
    for number, text in enumerate(cleaned, start=1):
        if not text:
            raise EmptyTextError(f"question {number} of {len(cleaned)} is empty")
    return "\n".join(cleaned)


def answer_prompt(question: str, answer: str) -> str:
    """Returns what the answer-reward model reads after the image.

    Raises:
        EmptyTextError: question or answer is empty.
    """
    cleaned_question, cleaned_answer = (
        without_image_tokens(question),
        without_image_tokens(answer),
    )
    if not cleaned_question:
        raise EmptyTextError("the question is empty")
    if not cleaned_answer:
        raise EmptyTextError("the answer is empty")
    return f"Question: {cleaned_question}\nAnswer: {cleaned_answer}"


def prompt_of(kind: RewardKind, questions: Sequence[str], answer: str | None) -> str:
    """Returns the prompt of one candidate, without the image's place.

    Raises:
        EmptyTextError: a text is empty, or its number does not fit the kind.
    """
    if kind == "question-reward":
        return question_prompt(questions)
    if len(questions) != 1 or answer is None:
        raise EmptyTextError("an answer candidate needs one question and one answer")
    return answer_prompt(questions[0], answer)


def refuse_long(prompt: str, limits: TextLimits) -> None:
    """Refuses a prompt of too many characters, before it is tokenised.

    Raises:
        LongTextError: the prompt has more than `max_chars` characters.
    """
    if len(prompt) > limits.max_chars:
        raise LongTextError(
            f"the text has {len(prompt)} characters; the limit is {limits.max_chars}"
        )


class RowEncoder:
    """Turns prompts into token rows, as LLaVA does.

    The text before `<image>` (nothing) and after it (a newline and the prompt) is tokenised
    apart, BOS stands once, and the image's features take the image's place. Special tokens that
    a text spells out are read as plain text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        special: SpecialIds,
        limits: TextLimits,
        num_image_tokens: int,
    ) -> None:
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.num_image_tokens = num_image_tokens
        self.special = special
        self.limits = limits

    def encode(self, prompt: str, *, has_image: bool) -> TokenRow:
        """Returns the row of a prompt; beyond `max_length` its end is cut and `truncated` set.

        Raises:
            LongTextError: the prompt has more than `max_chars` characters.
        """
        refuse_long(prompt, self.limits)
        prefix = [self.special.bos]
        text = prompt
        if has_image:
            prefix += [self.special.image] * self.num_image_tokens
            text = "\n" + prompt
        ids = prefix + self._tokenizer.encode(text, add_special_tokens=False).ids
        kept = ids[: self.limits.max_length]
        return TokenRow(ids=tuple(kept), truncated=len(kept) < len(ids))
