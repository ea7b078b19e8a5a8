"""What is known of one record, as a value and in words. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.wording import reward as reward_text

MAX_RAW_CHARS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a record stood at one stage, among the `num_scored` of its stratum."""

    stage: RewardStage
    reward: float
    rank: int
    cut: int
    num_scored: int
    lowest_passed: float | None

    @property
    def is_passed(self) -> bool:
        """Whether the record survived the stage."""
        return self.rank <= self.cut


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReward:
    """One reward as the service answered it; turn -1 is the question reward of all turns."""

    stage: RewardStage
    turn: int
    candidate: int
    reward: float
    num_tokens: int
    truncated: bool
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedTurn:
    """One turn of the input; `answers` holds every candidate."""

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRewrite:
    """One turn of the rewrite ledger; gates: true passed, false failed, null not tried.

    The original is the question with the candidate answer that was chosen then.
    """

    turn: int
    status: str
    original_question: str
    original_answer: str
    rewrite_question: str | None
    rewrite_answer: str | None
    unparsed: str | None
    gates: dict[str, bool | None]
    original_first: str | None
    rewrite_first: str | None
    verdict: str | None
    error_code: str | None
    identity: str | None
    prompt_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedFault:
    """Why a record is in quarantine, as it stands in `quarantine/`."""

    stage: str
    code: str
    message: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that a run knows of one record; `raw` is its text where it is no valid record.

    `note`: what else the key that found it could have meant.
    """

    position: int
    also_at: tuple[int, ...]  # positions of records with equal content
    uid: str | None
    id: str | None
    type: str
    image: str | None
    turns: tuple[ExplainedTurn, ...]
    raw: str | None
    stage: str
    decision: str
    reason: str
    why: str
    standings: tuple[Standing, ...]
    rewards: tuple[StoredReward, ...]
    rewrites: tuple[ExplainedRewrite, ...]
    fault: ExplainedFault | None
    note: str | None = None


def why(
    decision: str, reason: str, *, standings: Sequence[Standing], fault: ExplainedFault | None
) -> str:
    """Returns the decision and its reason as sentences."""
    stood = " ".join(_standing(standing) for standing in standings)
    if fault is not None:
        told = f"Quarantined at stage {fault.stage} with {fault.code}: {fault.message}."
    elif reason == "text_only":
        told = "Dropped: it has no image, and input.text_only is drop."
    elif decision == "kept" and not standings:
        told = "Kept: no stage judged it."
    elif decision == "kept":
        told = "Kept: it passed every stage that is on."
    else:
        told = f"{decision.capitalize()}: {reason.replace('_', ' ')}."
    return f"{told} {stood}".strip()


def _standing(one: Standing) -> str:
    comparison = "passes" if one.is_passed else "does not pass"
    lowest = "none passed" if one.lowest_passed is None else f"down to {one.lowest_passed:.4f}"
    return (
        f"At the {one.stage} stage its reward {one.reward:.4f} is rank {one.rank} of "
        f"{one.num_scored} and {comparison}: the best {one.cut} do, {lowest}."
    )


def explanation_text(one: Explanation) -> str:
    """Returns the explanation as lines for a terminal."""
    return "\n".join(_lines(one))


def _lines(one: Explanation) -> Iterator[str]:
    if one.note is not None:
        yield f"({one.note})"
    yield f"position {one.position}  uid {one.uid or 'none'}  id {one.id or 'none'}  type {one.type}"
    if one.also_at:
        yield f"same content at positions {', '.join(map(str, one.also_at))}"
    yield f"image {one.image or 'none'}"
    yield ""
    yield one.why
    yield ""
    yield from _text_lines(one)
    yield from _reward_lines(one.rewards)
    for rewrite in one.rewrites:
        yield from _rewrite_lines(rewrite)


def _text_lines(one: Explanation) -> Iterator[str]:
    for number, turn in enumerate(one.turns):
        yield f"turn {number}"
        yield f"  Q {turn.question}"
        for candidate, answer in enumerate(turn.answers):
            mark = f"A[{candidate}]" if len(turn.answers) > 1 else "A"
            yield f"  {mark} {answer}"
    if one.raw is not None:
        yield "no valid record; as it stands in the input:"
        yield f"  {one.raw}"


def _reward_lines(rewards: Sequence[StoredReward]) -> Iterator[str]:
    if rewards:
        yield ""
        yield "rewards"
    for one in rewards:
        place = "all questions" if one.turn < 0 else f"turn {one.turn} candidate {one.candidate}"
        cut = ", truncated" if one.truncated else ""
        yield (
            f"  {one.stage} {place}: {reward_text(one.reward)} "
            f"({one.num_tokens} tokens{cut}, {one.identity})"
        )


def _rewrite_lines(one: ExplainedRewrite) -> Iterator[str]:
    yield ""
    yield f"rewrite of turn {one.turn}: {one.status.replace('_', ' ')}"
    if one.rewrite_answer is not None:
        yield f"  Q {one.rewrite_question}"
        yield f"  A {one.rewrite_answer}"
    if one.unparsed is not None:
        yield f"  the completion holds no turn: {one.unparsed}"
    shown = {True: "passed", False: "failed", None: "not tried"}
    if any(result is not None for result in one.gates.values()):
        yield "  gates " + ", ".join(f"{name} {shown[ok]}" for name, ok in one.gates.items())
    if one.verdict is not None:
        yield (
            f"  review: original first {one.original_first}, rewrite first {one.rewrite_first}; "
            f"verdict {one.verdict}"
        )
    if one.error_code is not None:
        yield f"  error {one.error_code}"
