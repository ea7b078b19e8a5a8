"""A seeded sample of an input, in which small strata occur, written as a small input of its own.

A stratum here is a type, its text-only records apart. The input is streamed once; only the sample
is held. No image is opened: whether a sampled record is usable is found out by the run on it.
"""

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from align2llava.pipeline.config.schema import Config, InputPath
from align2llava.pipeline.curation.disk.files import write_durably
from align2llava.pipeline.curation.input.files import (
    Dialect,
    dialect_of_all,
    no_record,
    read_elements,
)
from align2llava.pipeline.curation.input.records import Record, read_record
from align2llava.pipeline.errors import ConfigError
from align2llava.pipeline.process.progress import ProgressView

MAX_SAMPLE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """What is sampled apart: records of a type, with images or without."""

    type: str
    is_text_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One sampled record: its place in the whole input, the file it is of, and its bytes."""

    position: int
    file: int
    stratum: Stratum
    image: str | None
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample in input order. `num_records` counts the whole input by stratum.

    `num_of_image` says how many records of the whole input have the image of a sampled one.
    """

    dialect: Dialect
    records: tuple[Sampled, ...]
    num_records: Mapping[Stratum, int]
    num_of_image: Mapping[str, int]

    @property
    def num_input(self) -> int:
        """Returns how many records the input has."""
        return sum(self.num_records.values())


def draw_sample(config: Config, *, size: int, progress: ProgressView) -> Sample:
    """Returns `size` records of the input, each stratum in proportion but with one at least.

    Which ones follows from the seed and the positions alone.

    Raises:
        InputError: a file is missing or no JSON array (it says the byte), or there is no record.
        ConfigError: several dialects, or a size outside [1, 100000].
    """
    if not 1 <= size <= MAX_SAMPLE:
        raise ConfigError(f"a sample of {size} records: between 1 and {MAX_SAMPLE} are possible")
    dialect = dialect_of_all(config.input)
    draw = _Draw(size=size, seed=config.run.seed)
    progress.start("sample", total=None)
    for one in _records(config, dialect=dialect):
        draw.take(one)
        progress.advance(1)
    progress.finish()
    sample = draw.sample(dialect)
    if not sample.num_input:
        raise no_record([file.path for file in config.input.files()])
    return sample


def allocated(num_records: Mapping[Stratum, int], *, size: int) -> dict[Stratum, int]:
    """Returns how many records of each stratum make a sample of `size`.

    One each, the largest strata first where there are more strata than places; the rest in
    proportion by largest remainder. No stratum gives more than it has.
    """
    order = sorted(num_records, key=lambda one: (-num_records[one], one.type, one.is_text_only))
    taken = dict.fromkeys(order[:size], 1)
    left = min(size, sum(num_records.values())) - len(taken)
    spare = sum(num_records[one] - 1 for one in taken)
    shares = {one: left * (num_records[one] - 1) / spare if spare else 0.0 for one in taken}
    for one, share in shares.items():
        taken[one] += int(share)
    rest = left - sum(int(share) for share in shares.values())
    for one in sorted(shares, key=lambda one: int(shares[one]) - shares[one])[:rest]:
        taken[one] += 1
    return taken


def write_sample(sample: Sample, folder: Path, *, config: Config) -> Config:
    """Writes the sample as files of its dialect, one for each input file, and returns its config.

    Records keep their bytes, their order and the type that is configured for their file. A run on it
    has no limit and no canaries, so that it asks for the sample and nothing else, and its scratch
    lies in `folder` too.

    Raises:
        StoreError: a write failed.
    """
    paths: list[Path | InputPath] = []
    for at, file in enumerate(config.input.files()):
        path = folder / f"sample-{at}.{sample.dialect}"
        raws = [one.raw for one in sample.records if one.file == at]
        if sample.dialect == "json":
            write_durably(path, b"[\n" + b",\n".join(raws) + b"\n]\n")
        else:
            write_durably(path, b"".join(raw + b"\n" for raw in raws))
        paths.append(InputPath(path=path, type=file.type))
    changed = {"path": paths, "format": sample.dialect}
    alone = {"limit": 0, "canaries": 0, "scratch": folder / "scratch"}
    return config.model_copy(
        update={
            "input": config.input.model_copy(update=changed),
            "run": config.run.model_copy(update=alone),
        }
    )


def _records(config: Config, *, dialect: Dialect) -> Iterator[Sampled]:
    # Reads past the limit without keeping records, so that a syntax error there is reported, as by a run.
    position = 0
    for at, file in enumerate(config.input.files()):
        for element in read_elements(file.path, dialect):
            is_wanted = not config.run.limit or position < config.run.limit
            if is_wanted and not element.too_long:  # of a line too long the bytes are not all there
                yield _sampled(element.raw, position=position, file=(at, file), config=config)
            position += 1


def _sampled(raw: bytes, *, position: int, file: tuple[int, InputPath], config: Config) -> Sampled:
    at, source = file
    reading = read_record(
        raw, configured_type=source.type, max_text_chars=config.input.max_text_chars
    )
    is_text_only = isinstance(reading.outcome, Record) and reading.outcome.image is None
    return Sampled(
        position=position,
        file=at,
        stratum=Stratum(type=reading.type, is_text_only=is_text_only),
        image=reading.image,
        raw=raw,
    )


@dataclass(slots=True, kw_only=True)
class _Draw:
    """Keeps, of each stratum, the `size` records with the smallest keyed hash of their position."""

    size: int
    seed: int
    _heaps: dict[Stratum, list[tuple[int, int, Sampled]]] = field(
        default_factory=dict[Stratum, list[tuple[int, int, Sampled]]]
    )
    _counts: dict[Stratum, int] = field(default_factory=dict[Stratum, int])
    _images: dict[bytes, int] = field(default_factory=dict[bytes, int])

    def take(self, one: Sampled) -> None:
        self._counts[one.stratum] = self._counts.get(one.stratum, 0) + 1
        if one.image is not None:
            name = _short(one.image)
            self._images[name] = self._images.get(name, 0) + 1
        heap = self._heaps.setdefault(one.stratum, [])
        entry = (-self._key(one.position), one.position, one)
        if len(heap) < self.size:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)

    def sample(self, dialect: Dialect) -> Sample:
        sizes = allocated(self._counts, size=self.size)
        chosen: list[Sampled] = []
        for stratum, size in sizes.items():
            smallest = sorted(self._heaps[stratum], key=lambda entry: (-entry[0], entry[1]))
            chosen += [one for _, _, one in smallest[:size]]
        images = {one.image for one in chosen if one.image is not None}
        return Sample(
            dialect=dialect,
            records=tuple(sorted(chosen, key=lambda one: one.position)),
            num_records=dict(self._counts),
            num_of_image={image: self._images[_short(image)] for image in images},
        )

    def _key(self, position: int) -> int:
        # `person` keeps the draw independent of selection's tie-break and of baselines.
        digest = hashlib.blake2b(
            position.to_bytes(8, "little"),
            key=self.seed.to_bytes(8, "little"),
            digest_size=8,
            person=b"a2l-sample",
        )
        return int.from_bytes(digest.digest(), "big")


def _short(image: str) -> bytes:
    """Returns 8 bytes for a name: a million images are held in memory as these."""
    return hashlib.blake2b(image.encode(errors="surrogatepass"), digest_size=8).digest()
