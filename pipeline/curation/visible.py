"""Characters that a reader cannot see or that turn a line around, made visible. Pure."""

import re

# Controls but for tab and line feed; marks and overrides of direction; blanks of no width. The two
# joiners (U+200C, U+200D) stay: scripts and emoji are spelled with them.
_HIDDEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u00ad\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]"
)


def visible(text: str) -> str:
    """Returns a text whose hidden characters are written as `<U+202E>`; a CR LF is a line feed."""
    return _HIDDEN.sub(_named, text.replace("\r\n", "\n"))


def _named(found: re.Match[str]) -> str:
    return f"<U+{ord(found[0]):04X}>"
