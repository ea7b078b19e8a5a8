"""How both surfaces word faults: of a body each by its place, the first few; of ours only what kind it is.

Knows no transport. The caller's own text stands in a message only as a place, cut short.
"""

import logging
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from align2llava.services.errors import InternalError, ServiceError

logger = logging.getLogger(__name__)

_MAX_FAULTS = 3
_MAX_PART_CHARS = 60
_OWN_PREFIX = "Value error, "
# Of Python's own words those of the wire.
_WORDS = {"tuple_type": "Input should be an array", "model_type": "Input should be an object"}


def service_error(error: Exception) -> ServiceError:
    """Returns the error itself, or what the caller is told of a fault of ours; logs the latter."""
    if isinstance(error, ServiceError):
        return error
    logger.error("a request failed", exc_info=error)
    return InternalError(f"the service failed: {type(error).__name__}")


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
