"""What a service asks of its engine: two Protocols and the values they speak. No transport, no torch.

A `RewardGroup` is one image with its candidates; `prepare` makes a `PreparedGroup` of it on the CPU,
`launch` computes, and a `GroupScore` answers it row by row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.services.errors import ServiceError
from align2llava.services.reward_model.tokens.inputs import ImageInput, TokenRow
from align2llava.services.reward_model.tree.tree import Ints, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One row to be scored: all human turns of a record, or one question and its answer.

    For question-reward `answer` is None; for answer-reward `questions` has one element.
    """

    questions: tuple[str, ...]
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardGroup:
    """One decoded RGB image (None = text only) and the candidates that share it."""

    image: Image.Image | None
    candidates: tuple[Candidate, ...]
    image_key: str = ""  # equal keys mean equal images; empty = not known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedTree:
    """Some rows of a group as one tree."""

    tree: Tree
    positions_AT: Ints  # A position axes, T places
    candidates: tuple[int, ...]  # which candidate each row of the tree is


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedGroup:
    """A group, tokenised and resized."""

    rows: tuple[TokenRow | ServiceError, ...]  # one for each candidate, in order
    image: ImageInput | None
    image_key: str
    trees: tuple[PlacedTree, ...]  # all good rows; none where the engine shares prefixes itself
    num_tokens: int  # what computing it costs, in tokens

    @property
    def num_items(self) -> int:
        """How many candidates it has."""
        return len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReward:
    """The reward of one candidate; `num_tokens` counts text and image tokens of its sequence."""

    reward: float  # finite, float32, higher is better
    num_tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """One outcome for each candidate, in order, and what they cost."""

    rows: tuple[RowReward | ServiceError, ...]
    prefix_tokens: int
    suffix_tokens: int
    device_ms: float


class RewardEngine(Protocol):
    """Computes rewards, in three phases that overlap; a reward never depends on batch mates."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        ...

    def prepare(self, group: RewardGroup) -> PreparedGroup:
        """Returns a group ready to be computed; in any thread, several at once.

        A candidate that cannot be scored (too long, say) has a `ServiceError` as its row; the
        others are scored all the same.
        """
        ...

    def launch(self, groups: Sequence[PreparedGroup]) -> Callable[[], list[GroupScore]]:
        """Starts to compute and returns what waits for the scores, one for each group, in order.

        Called from the device's thread; what it returns is called once, from any thread.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One sampled completion."""

    text: str
    finish_reason: Literal["stop", "length"]
    num_prompt_tokens: int
    num_completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """Negative log-likelihood of a completion, in nats, summed over its tokens."""

    nll: float
    num_tokens: int


class LanguageEngine(Protocol):
    """The inner LLM. Every method raises `TooLargeError` where prompt and completion do not fit."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        ...

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        choices: Sequence[str] = (),
    ) -> Rollout:
        """Returns one completion of the chat prompt, at most `max_tokens` tokens.

        `choices`, where given, are the only texts the completion may be (constrained decoding).
        `max_tokens` 0 = as many as the prompt has tokens, plus 64.
        """
        ...

    async def likelihood(self, prompt: str, completion: str) -> Likelihood:
        """Returns the likelihood of `completion` after `prompt`, both verbatim, no template."""
        ...

    @property
    def is_running(self) -> bool:
        """Whether the engine can still answer; once it cannot, it stays so."""
        ...

    async def close(self) -> None:
        """Stops the engine."""
        ...
