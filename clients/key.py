"""The bearer key that a client shows: what it may consist of. No message here holds it."""

import re

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def checked_key(given: str | None) -> str | None:
    """Returns a key without the blanks around it, such as the line end of the file it came from; None stays None.

    Raises:
        ValueError: it is blank, or has a blank, a control or a character that is not ASCII within.
    """
    if given is None:
        return None
    key = given.strip()
    if not _PRINTABLE.fullmatch(key):
        raise ValueError("a key is one word of printable ASCII; this one is not")
    return key
