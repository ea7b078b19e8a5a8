"""How an error that is not ours, or of another's making, is worded in a message of ours. Knows no error."""

from pydantic import ValidationError

MAX_MESSAGE_CHARS = 1000  # gRPC's headers hold no more than some kilobytes; nobody reads as much
_MAX_PLACE_CHARS = 60  # of one part of a place: keys are the sender's


def one_line(error: BaseException) -> str:
    """Returns what an exception says, on one line; its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def cut(message: str) -> str:
    """Returns a message, or its beginning where it is longer than anybody reads."""
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    return f"{message[:MAX_MESSAGE_CHARS]}..."


def first_fault(error: ValidationError) -> str:
    """Returns the first place that does not fit, and why, without what stands there."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part)[:_MAX_PLACE_CHARS] for part in fault["loc"])
    return f"{place or 'the whole'}: {fault['msg']}"
