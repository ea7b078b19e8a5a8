"""How both surfaces word what is wrong with a body: each fault by its place, the first few.

Knows no transport. The caller's own text stands in a message only as a place, cut short.
"""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

_MAX_FAULTS = 3
_MAX_PART_CHARS = 60
_OWN_PREFIX = "Value error, "
# Of Python's own words those of the wire.
_WORDS = {"tuple_type": "Input should be an array", "model_type": "Input should be an object"}


def described(error: ValidationError) -> str:
    """Returns the first few faults of a body, by place."""
    return worded(error.errors(include_url=False, include_context=False, include_input=False))


def worded(faults: Sequence[Mapping[str, object]]) -> str:
    """Returns the first few of pydantic's faults, by place."""
    more = f" (and {len(faults) - _MAX_FAULTS} more)" if len(faults) > _MAX_FAULTS else ""
    return "; ".join(_fault(fault) for fault in faults[:_MAX_FAULTS]) + more


def _fault(fault: Mapping[str, object]) -> str:
    own = str(fault.get("msg", "")).removeprefix(_OWN_PREFIX)
    said = _WORDS.get(str(fault.get("type")), own)
    parts = fault.get("loc", ())
    place = ".".join(_part(part) for part in parts) if isinstance(parts, list | tuple) else ""
    return f"{place or 'the body'}: {said}"


def _part(part: object) -> str:
    text = str(part)
    return text if len(text) <= _MAX_PART_CHARS else f"{text[:_MAX_PART_CHARS]}..."
