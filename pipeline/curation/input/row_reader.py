"""From the bytes of a record to its row: parsed, its image looked at. Streams nothing."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from align2llava.pipeline.curation.faults import DriverCode, Fault
from align2llava.pipeline.curation.input.images import ImageLimits, find_image, look_at
from align2llava.pipeline.curation.input.records import Reading, Record, read_record, uid_of
from align2llava.pipeline.curation.input.rows import ImageRef, RawElement, Row, Span
from align2llava.pipeline.curation.layout import NO_IMAGE_SHA256

MAX_LOOKS = 32_768  # images remembered; one that is met again later is read again


class Chunk(NamedTuple):
    """Some records of one file, which follow each other.

    `file` is the input's number, `configured_type` its type; `position` that of the first.
    """

    position: int
    file: int
    configured_type: str
    elements: Sequence[RawElement]


class ReadingRules(NamedTuple):
    """Where images lie, where links among them may lead, and what is `too_large`; as in the input's config."""

    images_root: str
    link_roots: Sequence[str]
    max_text_chars: int
    max_image_bytes: int
    max_pixels: int


class RowReader:
    """Reads rows; remembers the images it looked at."""

    def __init__(self, rules: ReadingRules) -> None:
        self._max_text_chars = rules.max_text_chars
        self._root = Path(rules.images_root)
        self._link_roots = [Path(root) for root in rules.link_roots]
        self._limits = ImageLimits(max_bytes=rules.max_image_bytes, max_pixels=rules.max_pixels)
        self._looked = lru_cache(MAX_LOOKS)(self._look)

    def rows(self, chunk: Chunk) -> list[Row]:
        """Returns the row of each record of a chunk."""
        return [
            self._row(element, position=position, chunk=chunk)
            for position, element in enumerate(chunk.elements, chunk.position)
        ]

    def _row(self, element: RawElement, *, position: int, chunk: Chunk) -> Row:
        reading = self._reading(element, configured_type=chunk.configured_type)
        image: ImageRef | None = None
        sha256 = NO_IMAGE_SHA256
        record = reading.outcome if isinstance(reading.outcome, Record) else None
        fault = reading.outcome if isinstance(reading.outcome, Fault) else None
        if reading.image is not None:
            image, image_fault = self._looked(reading.image)
            sha256 = sha256 if image is None else image.sha256
            fault = fault or image_fault
        uid = None
        if reading.canonical is not None:
            uid = uid_of(reading.canonical, image_sha256=sha256)
        turns = () if record is None else record.turns
        return Row(
            position=position,
            uid=uid,
            id_json=reading.id_json,
            type=reading.type,
            image=image,
            fault=fault,
            type_rule=reading.type_rule,
            num_image_tokens=0 if record is None else record.num_image_tokens,
            num_turns=len(turns),
            num_answers=sum(len(turn.answers) for turn in turns),
            question_words=sum(len(turn.question.split()) for turn in turns),
            answer_words=sum(len(turn.answers[0].split()) for turn in turns),
            place=Span(file=chunk.file, offset=element.offset, num_bytes=len(element.raw)),
        )

    def _reading(self, element: RawElement, *, configured_type: str) -> Reading:
        if element.too_long:
            fault = Fault(code=DriverCode.TOO_LARGE, message="the line is over 64 MiB")
            return Reading.unparsed(fault)
        return read_record(
            element.raw, configured_type=configured_type, max_text_chars=self._max_text_chars
        )

    def _look(self, name: str) -> tuple[ImageRef | None, Fault | None]:
        path = find_image(name, root=self._root, link_roots=self._link_roots)
        return (None, path) if isinstance(path, Fault) else look_at(path, limits=self._limits)
