"""Preference groups: the scored candidates of one slot of an image. Knows no file format."""

from dataclasses import dataclass

from align2llava.clients.wire.kinds import RewardKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredCandidate:
    """One candidate and what humans gave it.

    For question-reward `questions` are all human turns and `answer` is None; for answer-reward
    `questions` has one element.
    """

    questions: tuple[str, ...]
    answer: str | None
    score: float  # in [0, 1], higher is better


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceGroup:
    """Candidates that may be compared: one image, and for answers one question."""

    entry: int  # place of its entry in the file, from 0
    kind: RewardKind
    image: str  # file name below the images' folder
    turn: int  # place of the answered question in its dialogue; -1 for questions
    candidates: tuple[ScoredCandidate, ...]

    @property
    def num_pairs(self) -> int:
        """How many strictly ordered pairs the group holds."""
        scores = [candidate.score for candidate in self.candidates]
        return sum(chosen > rejected for chosen in scores for rejected in scores)
