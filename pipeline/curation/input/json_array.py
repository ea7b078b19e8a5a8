"""Cuts a JSON array into its elements as they are read, byte for byte. Knows no files, no records.

The bytes are looked at as Latin-1 text, where a byte is a character: JSON's own characters are
ASCII, so that the standard library's C scanner finds where an element ends, whatever the bytes
inside its strings are, and offsets in the text are offsets in the file. What costs one record its
use only (NaN, a number or a depth beyond all measure) is no error of the array: the element comes out.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

CHUNK_BYTES = 2**20
MAX_ELEMENT_BYTES = 64 * 2**20
_SLACK_BYTES = (
    64  # the scanner reports a number or literal cut off by the end of a chunk this near it
)
_BLANK = re.compile(r"[ \t\n\r]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DEPTH = {"[": 1, "{": 1, "]": -1, "}": -1}
# A whole string, a bracket, or the quote of a string that is cut off.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)


class ArraySyntaxError(Exception):
    """The bytes are no JSON array; `offset` counts bytes from the start."""

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One element: the bytes before it (bracket or comma, and blanks), its own, and where they begin."""

    before: bytes
    raw: bytes
    offset: int


def split_array(stream: BinaryIO) -> Iterator[Piece]:
    """Yields the elements of the array in `stream`, and last a piece with what follows them.

    The last piece's `raw` is empty. At most one element and a chunk are held in memory.

    Raises:
        ArraySyntaxError: the bytes are no JSON array, or an element is over 64 MiB.
    """
    return _Splitter(stream).pieces()


class _Splitter:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._text = ""
        self._offset = 0  # of the text's first character in the stream
        self._at = 0
        self._is_ended = False
        # Numbers stay texts: whatever their size, it costs nothing, and nobody looks at them here.
        self._scan = json.JSONDecoder(strict=True, parse_int=str, parse_float=str).raw_decode

    def pieces(self) -> Iterator[Piece]:
        self._fill()
        start = self._at
        if self._text.startswith(_BYTE_ORDER_MARK.decode("latin-1")):
            self._at += len(_BYTE_ORDER_MARK)
        self._expect("[", "a JSON array starts with [")
        is_first = True
        while True:
            if self._peek() == "]" and is_first:
                self._at += 1
                break
            self._peek()
            before = self._text[start : self._at]
            offset = self._offset + self._at
            raw = self._element()
            yield Piece(before=before.encode("latin-1"), raw=raw.encode("latin-1"), offset=offset)
            self._forget()
            start = self._at
            if self._peek() == "]":
                self._at += 1
                break
            self._expect(",", "elements of an array stand between commas; the array ends with ]")
            is_first = False
        if self._peek():
            self._fail("there is more after the array")
        end = self._offset + len(self._text)
        yield Piece(before=self._text[start:].encode("latin-1"), raw=b"", offset=end)

    def _element(self) -> str:
        start = self._at
        while (end := self._end_of_element(start)) is None:
            if len(self._text) - start > MAX_ELEMENT_BYTES:
                self._fail(f"the element is over {MAX_ELEMENT_BYTES} bytes", at=start)
            self._fill(max(CHUNK_BYTES, len(self._text) - start))
        self._at = end
        return self._text[start:end]

    def _end_of_element(self, start: int) -> int | None:
        """Returns where the element ends, None where more must be read to know it."""
        try:
            _, end = self._scan(self._text, start)
        except json.JSONDecodeError as error:
            near_end = error.pos > len(self._text) - _SLACK_BYTES
            if self._is_ended or not (near_end or error.msg.startswith("Unterminated string")):
                self._fail(error.msg, at=error.pos)
            return None
        except RecursionError:
            return self._end_of_deep(start)
        # A number may go on behind what looks like its end: 1.5 of 1.5e+3, cut off after the e.
        may_go_on = self._text[end - 1] not in '}]"' and end > len(self._text) - _SLACK_BYTES
        return None if may_go_on and not self._is_ended else end

    def _end_of_deep(self, start: int) -> int | None:
        """Returns where an element ends that is nested too deeply to be scanned: by its brackets alone."""
        depth = 0
        for found in _STRING_OR_BRACKET.finditer(self._text, start):
            if found[0] == '"':
                break
            depth += _DEPTH.get(found[0], 0)
            if not depth:
                return found.end()
        if self._is_ended:
            self._fail("the element is nested too deeply, and does not end", at=start)
        return None

    def _peek(self) -> str:
        """Moves over blanks and returns the character there, empty at the end of the stream."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            assert blank is not None  # it matches the empty text too
            self._at = blank.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._is_ended:
                return ""
            self._fill()

    def _expect(self, character: str, message: str) -> None:
        if self._peek() != character:
            self._fail(message)
        self._at += 1

    def _fill(self, num_bytes: int = CHUNK_BYTES) -> None:
        chunk = self._stream.read(num_bytes)
        self._is_ended = not chunk
        self._text += chunk.decode("latin-1")

    def _forget(self) -> None:
        # Not after each element: cutting the text copies all that is left of it.
        if self._at >= CHUNK_BYTES:
            self._text = self._text[self._at :]
            self._offset += self._at
            self._at = 0

    def _fail(self, message: str, *, at: int | None = None) -> NoReturn:
        raise ArraySyntaxError(message, offset=self._offset + (self._at if at is None else at))
