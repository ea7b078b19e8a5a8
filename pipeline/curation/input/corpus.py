"""The input of a run: one scan that finds each record's row, then passes that read records again.

Texts are never held for the whole input: a pass streams the files again, in order. A file that
changes between two passes ends the run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, tee
from operator import attrgetter
from pathlib import Path

from align2llava.pipeline.config.schema import InputConfig, InputPath
from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.files import (
    ArrayStyle,
    Dialect,
    dialect_of_all,
    no_record,
    opened_at,
    read_elements,
    sha256_of,
)
from align2llava.pipeline.curation.input.records import Record, outcome_of
from align2llava.pipeline.curation.input.row_reader import Chunk, ReadingRules
from align2llava.pipeline.curation.input.row_workers import row_readers
from align2llava.pipeline.curation.input.rows import LoadedRecord, RawElement, Row, RowBatch, Span
from align2llava.pipeline.curation.layout import InputEntry
from align2llava.pipeline.errors import ConfigError, InputError

CHUNK_RECORDS = 512  # read at once, or as many as have
CHUNK_BYTES = 2**22


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
            InputError: a file is missing, or of a form that is not read.
            ConfigError: the files are of several dialects.
        """
        self._config = config
        self._limit = limit
        self.dialect: Dialect = dialect_of_all(config)
        self._sources = tuple(_source(file) for file in config.files())
        self.style = ArrayStyle()  # of the first file, once it was scanned

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Returns what the rows follow from: the files as they stand, and how they are read."""
        files = (f"{one.file.path} {one.mtime_ns} {one.num_bytes}" for one in self._sources)
        return (self._config.model_dump_json(), str(self._limit), *files)

    @property
    def images_root(self) -> Path:
        """Returns the folder of the images."""
        return self._config.images_root

    @property
    def paths(self) -> tuple[Path, ...]:
        """Returns the input files in order."""
        return tuple(source.file.path for source in self._sources)

    def check_images_root(self) -> None:
        """Checks that the images have a folder: without it each record would say that its image is missing.

        Raises:
            ConfigError: `images_root` is no folder.
        """
        if not self._config.images_root.is_dir():
            raise ConfigError(f"input.images_root: {self._config.images_root} is no folder")

    def scan(self, on_rows: Callable[[RowBatch], None]) -> tuple[InputEntry, ...]:
        """Reads the whole input once, calls `on_rows` with its rows in order, hashes the files.

        Raises:
            InputError: a file cannot be read or is no JSON array, or there is no record at all.
            WorkerError: a process that reads rows died.
        """
        counts = [0] * len(self._sources)
        num_bytes = sum(source.num_bytes for source in self._sources)
        rules = ReadingRules(
            images_root=str(self._config.images_root),
            link_roots=[str(root) for root in self._config.link_roots],
            max_text_chars=self._config.max_text_chars,
            max_image_bytes=self._config.max_image_bytes,
            max_pixels=self._config.max_pixels,
        )
        with row_readers(rules, num_bytes=num_bytes) as read_rows:
            for batch in read_rows(self._chunks(counts)):
                on_rows(batch)
        self._check_unchanged()
        if not any(counts):
            raise no_record(self.paths)
        return tuple(
            InputEntry(path=str(path), sha256=sha256_of(path), num_records=count)
            for path, count in zip(self.paths, counts, strict=True)
        )

    def raws(self, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes]]:
        """Yields the bytes of `rows`, which are in order, read again from where they were found.

        Raises:
            InputError: as `texts`.
        """
        told, read = tee(rows)
        yield from zip(told, self.texts(row.place for row in read), strict=True)

    def texts(self, places: Iterable[Span]) -> Iterator[bytes]:
        """Yields the bytes at `places`, which are in order.

        Raises:
            InputError: a file cannot be read, or is not what it was.
        """
        self._check_unchanged()
        for number, of_file in groupby(places, key=attrgetter("file")):
            path = self._sources[number].file.path
            with opened_at(path) as take:
                for _, offset, num_bytes in of_file:
                    raw = take(offset, num_bytes)
                    if len(raw) != num_bytes:
                        self._check_unchanged()
                        raise InputError("the file is shorter than it was", path=path)
                    yield raw
        self._check_unchanged()

    def load(self, rows: Iterable[Row]) -> Iterator[LoadedRecord]:
        """Yields the records of `rows`, which are in order; those with a fault are left out.

        Raises:
            InputError: as `raws`.
        """
        for row, raw in self.raws(row for row in rows if row.fault is None):
            outcome = self.outcome(raw)
            if not isinstance(outcome, Record) or row.uid is None:  # it was one in the scan
                path = self._sources[row.place.file].file.path
                raise InputError("the file changed during the run", path=path)
            yield LoadedRecord(row=row, uid=row.uid, record=outcome, raw=raw)

    def outcome(self, raw: bytes) -> Record | Fault:
        """Returns what the bytes of a record say."""
        return outcome_of(raw, max_text_chars=self._config.max_text_chars)

    def _take_style(self, style: ArrayStyle) -> None:
        self.style = style

    def _chunks(self, counts: list[int]) -> Iterator[Chunk]:
        """Yields all records up to the limit; counts them by file."""
        position = 0
        for number, source in enumerate(self._sources):
            on_style = self._take_style if number == 0 else _no_style
            elements = read_elements(source.file.path, self.dialect, on_style=on_style)
            for few in _few(elements):
                # Reads past the limit without keeping records, so that a syntax error there is reported.
                wanted = few[: max(0, self._limit - position)] if self._limit else few
                if wanted:
                    yield Chunk(
                        position=position,
                        file=number,
                        configured_type=source.file.type,
                        elements=wanted,
                    )
                counts[number] += len(wanted)
                position += len(few)

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


def _few(elements: Iterable[RawElement]) -> Iterator[list[RawElement]]:
    few: list[RawElement] = []
    num_bytes = 0
    for element in elements:
        few.append(element)
        num_bytes += len(element.raw)
        if len(few) == CHUNK_RECORDS or num_bytes >= CHUNK_BYTES:
            yield few
            few, num_bytes = [], 0
    if few:
        yield few


def _no_style(_style: ArrayStyle) -> None:
    """Takes what stands around the elements of a later file, which none is written like."""
