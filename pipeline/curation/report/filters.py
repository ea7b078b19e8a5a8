"""The filters of the report's templates: what numbers and names become on the page. Pure."""

from collections.abc import Callable, Sequence

from align2llava.pipeline.curation.figures.decisions import LengthDecile, TypeFigures
from align2llava.pipeline.curation.figures.spend import ServicePace
from align2llava.pipeline.curation.wording import (
    count,
    decimal,
    percent,
    reward,
    seconds,
    set_name,
    signed,
    small,
    words,
)

OUTCOMES = (
    ("kept", "kept"),
    ("below_answer_cut", "below the answer cut"),
    ("below_question_cut", "below the question cut"),
    ("text_only", "text-only, dropped"),
    ("quarantined", "quarantined"),
)


def fixed(value: float) -> str:
    """Returns a coordinate with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def outcome(counts: TypeFigures, kind: str) -> int:
    """Returns how many records of a type came to an outcome of `OUTCOMES`."""
    numbers = {
        "kept": counts.kept,
        "below_answer_cut": counts.below_answer_cut,
        "below_question_cut": counts.below_question_cut,
        "text_only": counts.text_only,
        "quarantined": counts.num_quarantined,
    }
    return numbers[kind]


def shares(deciles: Sequence[LengthDecile]) -> list[float]:
    """Returns the share kept of each decile."""
    return [decile.num_kept / decile.num_records for decile in deciles]


def tallest_share(deciles: Sequence[LengthDecile]) -> float | None:
    """Returns the largest share kept, None without deciles."""
    return max(shares(deciles), default=None)


def share_list(deciles: Sequence[LengthDecile]) -> str:
    """Returns the shares kept as one line of text."""
    return ", ".join(percent(share) for share in shares(deciles))


def peak(pace: ServicePace) -> float | None:
    """Returns the highest rate of any step, in items a second."""
    return max((step.rate for step in pace.steps), default=None)


def pace_list(pace: ServicePace) -> str:
    """Returns the rates over time as one line of text."""
    return ", ".join(decimal(step.rate) for step in pace.steps)


FILTERS: dict[str, Callable[..., str | int | float | None]] = {
    "count": count,
    "percent": percent,
    "decimal": decimal,
    "reward": reward,
    "small": small,
    "signed": signed,
    "fixed": fixed,
    "seconds": seconds,
    "words": words,
    "setname": set_name,
    "outcome": outcome,
    "tallest_share": tallest_share,
    "share_list": share_list,
    "peak": peak,
    "pace_list": pace_list,
}
