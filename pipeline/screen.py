"""What reaches a terminal: all that a verb prints goes through here, and texts of users' data with it.

What a terminal would obey, and what changes the order in which text is read, is replaced. A dead stderr
costs what would have stood on it; a reader of stdout that has gone (`| head`) has read enough.
"""

import io
import logging
import os
import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from align2llava.pipeline.errors import StoreError

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of `collections.abc` from Python 3.12 on

REPLACED = "?"
_JOINERS = "\u200c\u200d"  # letters of some scripts, and emoji, are put together by them
_KEPT = "\n\t" + _JOINERS
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, formats, surrogates, separators


def shown(text: str) -> str:
    """Returns a text of as many characters, without what a terminal would obey."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(REPLACED if _is_obeyed(one) else one for one in text)


@lru_cache(maxsize=4096)
def _is_obeyed(one: str) -> bool:
    return one not in _KEPT and unicodedata.category(one) in _OBEYED


def shown_json(text: str) -> str:
    """Returns a JSON text of the same value, without what a terminal would obey."""
    return "".join(_escaped(one) if _is_obeyed(one) else one for one in text)


def _escaped(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def say(text: str, *, end: str = "\n") -> None:
    """Prints a text on stdout.

    Raises:
        StoreError: it cannot be written, of which a reader that has gone is no case.
    """
    _print(shown(text) + end)


def say_json(text: str) -> None:
    """Prints a JSON text on stdout; as `say`."""
    _print(f"{shown_json(text)}\n")


def tell(text: str) -> None:
    """Prints a text on stderr, where it is a courtesy."""
    with suppress(OSError, ValueError, AttributeError):  # full, closed, and none
        sys.stderr.write(_encodable(shown(text), sys.stderr.encoding) + "\n")
        sys.stderr.flush()


def _print(text: str) -> None:
    if sys.stdout is None:  # closed by the shell
        return
    try:
        sys.stdout.write(_encodable(text, sys.stdout.encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        _into_nothing(1)
    except OSError as error:
        _into_nothing(1)
        raise StoreError(f"stdout: {error.strerror}: not all was printed") from error


def _encodable(text: str, encoding: str | None) -> str:
    """Returns the text as a terminal of another alphabet can show it."""
    name = encoding or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)


def _into_nothing(number: int) -> None:
    """Points a standard stream to nothing: Python flushes what is left of it at the end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)


class ShownFormatter(logging.Formatter):
    """Formats log lines without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, or the lines of a trace."""
        return shown(super().format(record))


class _Courtesy(io.RawIOBase):
    """A file descriptor on which what cannot be written is lost without a word."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: "Buffer", /) -> int:
        view = memoryview(data).cast("B")
        try:
            return os.write(self._number, view)
        except OSError:
            return len(view)


@contextmanager
def lasting_streams() -> Generator[None]:
    """Holds the standard streams while a verb runs, whatever becomes of their readers.

    Those that the shell closed are opened to nothing, or the first file that a run opens would take their
    place. stderr, with all that any library writes on it from Python, loses what cannot be written.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stderr is not sys.__stderr__:  # a test's own
        yield
        return
    before = sys.stderr
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Courtesy(2)),
        encoding=None if before is None else before.encoding,  # None: closed by the shell
        errors="backslashreplace",
        line_buffering=True,
    )
    yield  # it stays: what Python itself says at the end goes there too
