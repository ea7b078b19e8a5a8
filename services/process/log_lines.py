"""What a log shows of texts that are not ours: no control characters, no line that begins as one of ours.

Knows no service; a library may log what a caller sent, in its message or in its trace.
"""

import logging

_FORMATTER = logging.Formatter()
_NEXT_LINE = "\n    | "
_BREAKS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROLS = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0)))) + _BREAKS + _BIDI
_SHOWN = {
    **{ord(one): one.encode("unicode_escape").decode() for one in _CONTROLS},
    ord("\n"): _NEXT_LINE,
    ord("\t"): "\t",
}


def shown(text: str) -> str:
    """Returns a text with its control characters spelled out and its further lines marked."""
    return text.translate(_SHOWN)


class PlainLines(logging.Filter):
    """Lets every record through, each once made plain, whichever handlers it meets."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns True."""
        if not getattr(record, "is_plain", False):
            record.is_plain = True
            record.msg, record.args = shown(record.getMessage()), None
            if record.exc_info:
                record.exc_text = shown(_FORMATTER.formatException(record.exc_info))
        return True


_PLAIN_LINES = PlainLines()


def keep_plain() -> None:
    """Makes all handlers that the root logger has write plain lines."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_PLAIN_LINES)
