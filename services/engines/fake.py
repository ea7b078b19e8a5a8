"""Engines without a model, for tests of everything around one: instant and deterministic.

Words in a text ask for faults: `[[slow 200]]` takes 200 ms, `[[crash]]` raises, `[[nan]]` gives a
non-finite reward, `[[too-large]]`, `[[internal]]` fail their row, `[[truncated]]` marks it,
`[[unparsed]]` completes without tags, `[[reject]]` prefers the original in review.
"""

import asyncio
import hashlib
import math
import re
import time
from collections.abc import Callable, Sequence

import numpy as np

from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import ModelIdentity, Turn
from align2llava.services.engines.api import (
    ChatMessage,
    GroupScore,
    Likelihood,
    PreparedGroup,
    RewardGroup,
    Rollout,
    RowReward,
)
from align2llava.services.engines.prompts import TEMPLATE_VERSION, parse_rewrite, tagged
from align2llava.services.errors import InternalError, ServiceError, TooLargeError
from align2llava.services.reward_model.tokens.inputs import ImageInput, TokenRow

_SLOW = re.compile(r"\[\[slow (\d+)\]\]")
_TURN = re.compile(r"<question>.*?</question>\s*<answer>.*?</answer>", re.DOTALL)
_MARK = "Please tell: "
_IMAGE_TOKENS = 9


def _identity(kind: str, *, template_version: str) -> ModelIdentity:
    digest = hashlib.blake2b(f"fake {kind}".encode(), digest_size=16).hexdigest()
    return ModelIdentity(
        name=f"fake-{kind}",
        kind=kind,
        identity=digest,
        weights_sha256=hashlib.sha256(b"").hexdigest(),
        dtype="float32",
        template_version=template_version,
        engine="fake",
    )


def _slow_s(text: str) -> float:
    return sum(int(found) for found in _SLOW.findall(text)) / 1e3


def _unit(data: bytes) -> float:
    """Returns a number in [-1, 1) that the bytes decide, exact in float32."""
    number = int.from_bytes(hashlib.blake2b(data, digest_size=3).digest(), "little")
    return number / 2**23 - 1.0


class FakeRewardEngine:
    """A `RewardEngine` whose rewards are hashes of image and texts."""

    def __init__(self, kind: RewardKind) -> None:
        self._identity = _identity(kind, template_version="")
        self.num_calls = 0

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    def prepare(self, group: RewardGroup) -> PreparedGroup:
        """Returns a group whose "tokens" are its texts' bytes; see `RewardEngine.prepare`."""
        image = None
        if group.image is not None:
            digest = hashlib.blake2b(group.image.tobytes()).digest()
            pixels = np.frombuffer(digest, dtype=np.uint8).astype(np.float32)
            image = ImageInput(pixels=pixels, num_tokens=_IMAGE_TOKENS)
        texts = ["\n".join((*row.questions, row.answer or "")) for row in group.candidates]
        num_words = sum(len(text.split()) for text in texts)
        return PreparedGroup(
            rows=tuple(_row(text) for text in texts),
            image=image,
            image_key=group.image_key,
            trees=(),
            num_tokens=num_words + (0 if image is None else _IMAGE_TOKENS),
        )

    def launch(self, groups: Sequence[PreparedGroup]) -> Callable[[], list[GroupScore]]:
        """Returns what gives the scores; see `RewardEngine.launch`."""
        self.num_calls += 1
        scores = [_score(group) for group in groups]
        return lambda: scores


def _row(text: str) -> TokenRow | ServiceError:
    if "[[too-large]]" in text:
        return TooLargeError("the sequence is too long; asked for by the text")
    if "[[internal]]" in text:
        return InternalError("the row failed; asked for by the text")
    return TokenRow(ids=tuple(text.encode()), truncated="[[truncated]]" in text)


def _score(group: PreparedGroup) -> GroupScore:
    started = time.perf_counter()
    image = b"" if group.image is None else group.image.pixels.astype(np.uint8).tobytes()
    rows = tuple(_outcome(image, row) for row in group.rows)
    prefix = 0 if group.image is None else group.image.num_tokens
    return GroupScore(
        rows=rows,
        prefix_tokens=prefix,
        suffix_tokens=group.num_tokens - prefix,
        device_ms=1e3 * (time.perf_counter() - started),
    )


def _outcome(image: bytes, row: TokenRow | ServiceError) -> RowReward | ServiceError:
    if isinstance(row, ServiceError):
        return row
    text = bytes(row.ids).decode()
    if "[[crash]]" in text:
        raise RuntimeError("the fake engine was asked to crash")
    time.sleep(_slow_s(text))
    return RowReward(
        reward=math.nan if "[[nan]]" in text else _unit(image + b"\0" + text.encode()),
        num_tokens=_IMAGE_TOKENS + len(text.split()),
        truncated=row.truncated,
    )


class FakeLanguageEngine:
    """A `LanguageEngine` that rewrites a turn by adding words and reviews by looking for them."""

    def __init__(self) -> None:
        self._identity = _identity("inner-llm", template_version=TEMPLATE_VERSION)

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        choices: Sequence[str] = (),
    ) -> Rollout:
        """Returns one completion; see `LanguageEngine.complete`."""
        prompt = "\n".join(message.content for message in messages)
        await asyncio.sleep(_slow_s(prompt))
        self._raise_faults(prompt)
        text = _choice(prompt, choices) if choices else _rewrite(prompt, temperature, seed)
        num_tokens = len(text.split())
        is_cut = 0 < max_tokens < num_tokens
        return Rollout(
            text=" ".join(text.split()[:max_tokens]) if is_cut else text,
            finish_reason="length" if is_cut else "stop",
            num_prompt_tokens=len(prompt.split()),
            num_completion_tokens=max_tokens if is_cut else num_tokens,
        )

    async def likelihood(self, prompt: str, completion: str) -> Likelihood:
        """Returns a likelihood of about 1 nat a word; see `LanguageEngine.likelihood`."""
        await asyncio.sleep(_slow_s(completion))
        self._raise_faults(completion)
        num_tokens = len(completion.split())
        nll = math.nan if "[[nan]]" in completion else num_tokens + _unit(prompt.encode()) / 2
        return Likelihood(nll=nll, num_tokens=num_tokens)

    @property
    def is_running(self) -> bool:
        """Whether it can still answer: always."""
        return True

    async def close(self) -> None:
        """Does nothing; there is nothing to stop."""

    def _raise_faults(self, text: str) -> None:
        if "[[crash]]" in text:
            raise RuntimeError("the fake engine was asked to crash")
        if "[[too-large]]" in text:
            raise TooLargeError("the sequence is too long; asked for by the text")
        if "[[internal]]" in text:
            raise InternalError("the item failed; asked for by the text")


def _rewrite(prompt: str, temperature: float, seed: int) -> str:
    if "[[unparsed]]" in prompt:
        return "Here is no turn at all."
    found = _TURN.findall(prompt)
    turn = parse_rewrite(found[-1]) if found else None
    if turn is None:
        return "Fine."
    mood = "" if temperature == 0 else f" (mood {seed % 10})"
    rewritten = Turn(question=f"{_MARK}{turn.question}", answer=f"I see: {turn.answer}{mood}")
    return tagged(rewritten)


def _choice(prompt: str, choices: Sequence[str]) -> str:
    """Returns the choice whose version begins as the fake's own rewrites do."""
    versions = _TURN.findall(prompt)
    if "[[reject]]" in prompt or len(versions) != len(choices):
        return choices[0]
    for choice, version in zip(choices, versions, strict=True):
        if version.startswith(f"<question>{_MARK}"):
            return choice
    return choices[0]
