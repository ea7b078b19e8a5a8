"""The input of a run: one scan that finds each record's row, then passes that read records again.

Texts are never held for the whole input: a pass streams the files again, in order. A file that
changes between two passes ends the run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from pipeline.config import InputConfig, InputPath
from pipeline.curation.images import ImageLimits, find_image, look_at
from pipeline.curation.layout import NO_IMAGE_SHA256, DriverCode, InputEntry
from pipeline.curation.readers import (
    ArrayStyle,
    Dialect,
    RawElement,
    dialect_of,
    opened_at,
    read_elements,
    sha256_of,
)
from pipeline.curation.records import Fault, Reading, Record, outcome_of, read_record, uid_of
from pipeline.curation.rows import ImageRef, Loaded, Place, Row
from pipeline.errors import ConfigError, InputError

MAX_LOOKS = 32_768  # images remembered during the scan; one that is met again later is read again


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    file: InputPath
    mtime_ns: int
    num_bytes: int


class Corpus:
    """The input files of one run, all of one dialect."""

    def __init__(self, config: InputConfig, *, limit: int) -> None:
        """Looks at the files, reads nothing yet; `limit` 0 = all records.

        Raises:
            InputError: a file is missing.
            ConfigError: the files are of several dialects.
        """
        self._config = config
        self._limit = limit
        self._root = config.images_root
        self._sources = tuple(_source(file) for file in config.files())
        dialects: set[Dialect] = {
            dialect_of(file, input_format=config.format) for file in config.files()
        }
        if len(dialects) != 1:
            raise ConfigError(f"input.path: {len(dialects)} dialects in one run; one is the limit")
        self.dialect: Dialect = dialects.pop()
        self.style = ArrayStyle()  # of the first file, once it was scanned
        self._looked = lru_cache(MAX_LOOKS)(self._look)

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Returns what the rows follow from: the files as they stand, and how they are read."""
        files = (f"{one.file.path} {one.mtime_ns} {one.num_bytes}" for one in self._sources)
        return (self._config.model_dump_json(), str(self._limit), *files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Returns the input files in order."""
        return tuple(source.file.path for source in self._sources)

    def scan(self, on_row: Callable[[Row], None]) -> tuple[InputEntry, ...]:
        """Reads the whole input once, calls `on_row` with each row in order, hashes the files.

        Raises:
            InputError: a file cannot be read or is no JSON array.
        """
        counts = [0] * len(self._sources)
        position = 0
        for number, source in enumerate(self._sources):
            on_style = self._take_style if number == 0 else _no_style
            for element in read_elements(source.file.path, self.dialect, on_style=on_style):
                # The limit is no excuse: a syntax error behind it is found too.
                if not self._limit or position < self._limit:
                    counts[number] += 1
                    on_row(self._row(element, position=position, number=number))
                position += 1
        self._check_unchanged()
        return tuple(
            InputEntry(path=str(path), sha256=sha256_of(path), num_records=count)
            for path, count in zip(self.paths, counts, strict=True)
        )

    def raws(self, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes]]:
        """Yields the bytes of `rows`, which are in order, read again from where they were found.

        Raises:
            InputError: a file cannot be read, or is not what it was.
        """
        self._check_unchanged()
        for number, of_file in groupby(rows, key=lambda row: row.place.file):
            path = self._sources[number].file.path
            with opened_at(path) as take:
                for row in of_file:
                    raw = take(row.place.offset, row.place.num_bytes)
                    if len(raw) != row.place.num_bytes:
                        self._check_unchanged()
                        raise InputError("the file is shorter than it was", path=path)
                    yield row, raw
        self._check_unchanged()

    def load(self, rows: Iterable[Row]) -> Iterator[Loaded]:
        """Yields the records of `rows`, which are in order; those with a fault are left out.

        Raises:
            InputError: as `raws`.
        """
        for row, raw in self.raws(row for row in rows if row.fault is None):
            outcome = self.outcome(raw)
            assert isinstance(outcome, Record)  # it was one in the scan, and the file is the same
            assert row.uid is not None
            yield Loaded(row=row, uid=row.uid, record=outcome, raw=raw)

    def outcome(self, raw: bytes) -> Record | Fault:
        """Returns what the bytes of a record say."""
        return outcome_of(raw, max_text_chars=self._config.max_text_chars)

    def _take_style(self, style: ArrayStyle) -> None:
        self.style = style

    def _row(self, element: RawElement, *, position: int, number: int) -> Row:
        reading = self._reading(element, configured_type=self._sources[number].file.type)
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
            num_turns=len(turns),
            num_answers=sum(len(turn.answers) for turn in turns),
            question_words=sum(len(turn.question.split()) for turn in turns),
            answer_words=sum(len(turn.answers[0].split()) for turn in turns),
            place=Place(file=number, offset=element.offset, num_bytes=len(element.raw)),
        )

    def _reading(self, element: RawElement, *, configured_type: str) -> Reading:
        if element.too_long:
            fault = Fault(code=DriverCode.TOO_LARGE, message="the line is over 64 MiB")
            return Reading.unparsed(fault)
        return read_record(
            element.raw,
            configured_type=configured_type,
            max_text_chars=self._config.max_text_chars,
        )

    def _look(self, name: str) -> tuple[ImageRef | None, Fault | None]:
        path = find_image(name, root=self._root)
        if isinstance(path, Fault):
            return None, path
        limits = ImageLimits(
            max_bytes=self._config.max_image_bytes, max_pixels=self._config.max_pixels
        )
        return look_at(path, limits=limits)

    def _check_unchanged(self) -> None:
        for source in self._sources:
            if _source(source.file) != source:
                raise InputError("the file changed during the run", path=source.file.path)


def _source(file: InputPath) -> _Source:
    try:
        stat = file.path.stat()
    except OSError as error:
        raise InputError(error.strerror or str(error), path=file.path) from error
    return _Source(file=file, mtime_ns=stat.st_mtime_ns, num_bytes=stat.st_size)


def _no_style(_style: ArrayStyle) -> None:
    """Takes what stands around the elements of a later file, which none is written like."""
