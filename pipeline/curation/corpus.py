"""The input of a run: one scan that finds each record's row, then passes that read records again.

Texts are never held for the whole input: a pass streams the files again, in order. A file that
changes between two passes ends the run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from pipeline.config import InputConfig, InputPath
from pipeline.curation.images import ImageLimits, find_image, look_at
from pipeline.curation.layout import NO_IMAGE_SHA256, DriverCode, InputEntry
from pipeline.curation.readers import (
    Dialect,
    RawElement,
    dialect_of,
    read_elements,
    sha256_of,
)
from pipeline.curation.records import Fault, Reading, Record, read_record, uid_of
from pipeline.curation.rows import ImageRef, Loaded, Row
from pipeline.errors import ConfigError, InputError

MAX_LOOKS = 32_768  # images remembered during the scan; one that is met again later is read again


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    file: InputPath
    mtime_ns: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Positioned:
    """One element with its place among all inputs and the type configured for its file."""

    position: int
    element: RawElement
    configured_type: str


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
        # The limit is no excuse: a syntax error behind it is found too.
        for at, positioned in self._elements():
            if not self._limit or positioned.position < self._limit:
                counts[at] += 1
                on_row(self._row(positioned))
        self._check_unchanged()
        return tuple(
            InputEntry(path=str(path), sha256=sha256_of(path), num_records=count)
            for path, count in zip(self.paths, counts, strict=True)
        )

    def elements(self) -> Iterator[Positioned]:
        """Yields every element again, in order, up to the limit.

        Raises:
            InputError: a file cannot be read, or is not what it was.
        """
        self._check_unchanged()
        elements = (positioned for _, positioned in self._elements())
        yield from islice(elements, self._limit or None)
        self._check_unchanged()

    def load(self, rows: Iterable[Row]) -> Iterator[Loaded]:
        """Yields the records of `rows`, which are in order; those with a fault are left out.

        The files are read as far as the last of them.
        """
        wanted = (row for row in rows if row.uid is not None and row.fault is None)
        row = next(wanted, None)
        elements = self.elements()
        while row is not None:
            positioned = next(elements)
            if positioned.position < row.position:
                continue
            outcome = self._reading(positioned).outcome
            assert isinstance(outcome, Record)  # it was one in the scan, and the file is the same
            assert row.uid is not None
            yield Loaded(row=row, uid=row.uid, record=outcome, raw=positioned.element.raw)
            row = next(wanted, None)
        self._check_unchanged()

    def _elements(self) -> Iterator[tuple[int, Positioned]]:
        position = 0
        for at, source in enumerate(self._sources):
            for element in read_elements(source.file.path, self.dialect):
                yield (
                    at,
                    Positioned(
                        position=position, element=element, configured_type=source.file.type
                    ),
                )
                position += 1

    def _row(self, positioned: Positioned) -> Row:
        reading = self._reading(positioned)
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
            position=positioned.position,
            uid=uid,
            id_json=reading.id_json,
            type=reading.type,
            image=image,
            fault=fault,
            num_turns=len(turns),
            num_answers=sum(len(turn.answers) for turn in turns),
        )

    def _reading(self, positioned: Positioned) -> Reading:
        if positioned.element.too_long:
            fault = Fault(code=DriverCode.TOO_LARGE, message="the line is over 64 MiB")
            return Reading.unparsed(fault)
        return read_record(
            positioned.element.raw,
            configured_type=positioned.configured_type,
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
