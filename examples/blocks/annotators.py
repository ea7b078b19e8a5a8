"""Simulated annotators: noisy scores in steps of 0.1, with a mood that is the image's."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

NUM_ANNOTATORS = 3
_NOISE = 0.12  # of one annotator's score
_IMAGE_NOISE = 0.1  # shared by all candidates of an image


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What each annotator gave one candidate, and what they agreed on."""

    annotators: tuple[float, ...]
    score: float


def rated(true_scores: Sequence[float], rng: Random) -> list[Rating]:
    """Returns the ratings of all candidates of one image; scores in [0, 1], often tied."""
    mood = rng.gauss(0.0, _IMAGE_NOISE)
    return [_rating(true_score, mood=mood, rng=rng) for true_score in true_scores]


def _rating(true_score: float, *, mood: float, rng: Random) -> Rating:
    if true_score == 0.0:  # a refusal: nobody doubts
        return Rating(annotators=(0.0,) * NUM_ANNOTATORS, score=0.0)
    given = tuple(_step(true_score + mood + rng.gauss(0.0, _NOISE)) for _ in range(NUM_ANNOTATORS))
    return Rating(annotators=given, score=_step(sum(given) / NUM_ANNOTATORS))


def _step(score: float) -> float:
    return round(min(1.0, max(0.0, score)), 1)
