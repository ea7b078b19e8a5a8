"""Rows: what the driver knows of an input record without its texts. Values only; knows no files."""

from pathlib import Path
from typing import NamedTuple

from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.records import Record
from align2llava.pipeline.curation.input.types import TypeRule


class RawElement(NamedTuple):
    """One record's bytes and where they begin in the decompressed file.

    `too_long` = a line over the limit, whose bytes are cut off.
    """

    raw: bytes
    offset: int
    too_long: bool = False


class ImageRef(NamedTuple):
    """A record's image file, the sha256 of its bytes in hex, and how many they are."""

    path: Path
    sha256: str
    num_bytes: int


class Place(NamedTuple):
    """Where a record's bytes are: the input's number, and the bytes of it, decompressed."""

    file: int
    offset: int
    num_bytes: int


class Row(NamedTuple):
    """One input record, without its texts.

    `position` counts over all inputs in order. `uid` and `id_json` are None where the record
    cannot be parsed. `fault` = quarantined at stage input. `image` None without a fault = text only.
    `num_turns`, `num_answers` (candidates of all turns) and words (what blanks separate; candidate
    0 stands for an answer) are 0 where the record cannot be used whatever its image is, and so is
    `num_image_tokens`, the `<image>` of all questions.
    """

    position: int
    uid: str | None
    id_json: str | None
    type: str
    image: ImageRef | None
    fault: Fault | None
    place: Place
    type_rule: TypeRule = TypeRule.NONE
    num_image_tokens: int = 0
    num_turns: int = 0
    num_answers: int = 0
    question_words: int = 0
    answer_words: int = 0

    @property
    def is_text_only(self) -> bool:
        """Returns whether this is a usable record without an image."""
        return self.fault is None and self.image is None


class Loaded(NamedTuple):
    """A usable row with its texts and its bytes, read again from the input."""

    row: Row
    uid: str
    record: Record
    raw: bytes
