"""How numbers and names are written for people, on a page and in a terminal alike. Pure."""

NONE = "n/a"

SET_NAMES = {
    "raw": "All input",
    "kept": "Kept by this run",
    "random": "Random",
    "length-matched": "Length-matched random",
    "longest": "Longest",
    "bottom": "Bottom-ranked",
}


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
