"""How the report writes numbers and names: the filters of its template. Pure."""

from collections.abc import Callable, Sequence

from align2llava.pipeline.curation.figures.decisions import LengthDecile, TypeCounts
from align2llava.pipeline.curation.figures.spend import ServicePace

NONE = "n/a"

SET_NAMES = {
    "raw": "All input",
    "kept": "Kept by this run",
    "random": "Random",
    "length-matched": "Length-matched random",
    "longest": "Longest",
    "bottom": "Bottom-ranked",
}

OUTCOMES = (
    ("kept", "kept"),
    ("below_answer_cut", "below the answer cut"),
    ("below_question_cut", "below the question cut"),
    ("text_only", "text-only, dropped"),
    ("quarantined", "quarantined"),
)


def count(value: int | None) -> str:
    """Returns a whole number with commas."""
    return NONE if value is None else f"{value:,}"


def percent(share: float | None, digits: int = 1) -> str:
    """Returns a share in [0, 1] as per cent."""
    return NONE if share is None else f"{share * 100:.{digits}f} %"


def decimal(value: float | None) -> str:
    """Returns a number with one decimal and commas."""
    return NONE if value is None else f"{value:,.1f}"


def reward(value: float | None) -> str:
    """Returns a reward with three decimals."""
    return NONE if value is None else f"{value:z.3f}"


def small(value: float | None) -> str:
    """Returns a number that may be tiny, with three digits that count."""
    return NONE if value is None else f"{value:.3g}"


def signed(value: float | None) -> str:
    """Returns a correlation with its sign and two decimals."""
    return NONE if value is None else f"{value:+.2f}"


def fixed(value: float) -> str:
    """Returns a coordinate with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def seconds(value: float | None) -> str:
    """Returns a duration in the unit that reads best."""
    if value is None:
        return NONE
    if value < 1:
        return f"{value * 1000:.1f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def words(name: str) -> str:
    """Returns a name from the code as words."""
    return str(name).replace("_", " ")


def set_name(name: str) -> str:
    """Returns what the page calls a set of records."""
    return SET_NAMES[name]


def outcome(counts: TypeCounts, kind: str) -> int:
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
