"""The scan: the input read once, before anything is spent, into a table of its rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.disk.scratch import scratch_folder, scratch_name
from align2llava.pipeline.curation.input.corpus import Corpus
from align2llava.pipeline.curation.input.files import ArrayStyle
from align2llava.pipeline.curation.input.rows import ROWS, LoadedRecord, Row, RowBatch
from align2llava.pipeline.curation.input.table import RecordTable, RecordTableWriter, can_be_scored
from align2llava.pipeline.curation.input.types import TypeRule
from align2llava.pipeline.curation.layout import InputEntry
from align2llava.pipeline.process.progress import ProgressView


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The input, and the table of its rows."""

    corpus: Corpus
    table: RecordTable

    @property
    def style(self) -> ArrayStyle:
        """Returns what stands around the elements of the first file, where it is an array."""
        return self.table.style

    @property
    def inputs(self) -> Sequence[InputEntry]:
        """Returns the input files."""
        return self.table.inputs

    def load(self, positions: pl.Series) -> Iterator[LoadedRecord]:
        """Yields the records at positions, which ascend, but for those with a fault; `InputError` as `Corpus.load`."""
        return self.corpus.load(self.table.rows(positions))

    def raws(self, positions: pl.Series) -> Iterator[tuple[Row, bytes]]:
        """Yields the rows at positions, which ascend, with their bytes; `InputError` as `Corpus.raws`."""
        return self.corpus.raws(self.table.rows(positions))

    def scorable_positions(self) -> pl.Series:
        """Returns the positions of the records that are scored, ascending."""
        return self.table.lazy().filter(can_be_scored()).select("position").collect()["position"]

    def num_images(self, positions: pl.Series) -> int:
        """Returns how many images the records at positions have."""
        # memory: hashes are 8 bytes each, the texts of a million would stay until the next stage.
        image = pl.col("image_sha256").hash()
        images = self.table.lazy().select("position", image).collect(engine="streaming")
        return images.filter(pl.col("position").is_in(positions.implode()))[
            "image_sha256"
        ].n_unique()

    def decidable(self) -> pl.DataFrame:
        """Returns position, type (a category) and is_text_only of every record."""
        kind = pl.col("type").cast(pl.Categorical)
        is_text_only = (pl.col("code").is_null() & pl.col("image_sha256").is_null()).alias(
            "is_text_only"
        )
        return self.table.lazy().select("position", kind, is_text_only).collect(engine="streaming")

    def type_rules(self) -> dict[str, int]:
        """Returns how many records have their type by each of `TypeRule`, but for those with none."""
        rules = self.table.lazy().group_by("type_rule").len().collect()
        return {rule: number for rule, number in rules.iter_rows() if rule != TypeRule.NONE}

    def faults(self) -> pl.DataFrame:
        """Returns position, code and message of the records that cannot be used, in order."""
        faulty = self.table.lazy().filter(pl.col("code").is_not_null())
        return faulty.select("position", "code", "message").collect().sort("position")


def scan_input(config: Config, progress: ProgressView, *, reuses: bool = False) -> Scan:
    """Reads the whole input once.

    `reuses`: a table of these very files will do, and the images may be gone, as of a finished run.

    Raises:
        InputError: a file is missing or no JSON array; it says the byte.
        ConfigError: several dialects, or no `images_root`.
        StoreError: the scratch folder cannot be written.
    """
    corpus = Corpus(config.input, limit=config.run.limit)
    if not reuses:
        corpus.check_images_root()
    name = scratch_name(str(ROWS), *corpus.fingerprint)  # a table of other columns is of no use
    path = scratch_folder(config.run.scratch) / f"records-{name}.parquet"
    table = _table_at(path) if reuses else None
    if table is None:
        table = _scanned(corpus, path, progress)
    return Scan(corpus=corpus, table=table)


def _scanned(corpus: Corpus, path: Path, progress: ProgressView) -> RecordTable:
    writer = RecordTableWriter(path)

    def take(rows: RowBatch) -> None:
        writer.write(rows)
        progress.advance(rows.num_rows)

    progress.start("input", total=None)
    try:
        inputs = corpus.scan(take)
        table = writer.finish(inputs, corpus.style)
    finally:
        writer.discard()
    progress.finish()
    return table


def _table_at(path: Path) -> RecordTable | None:
    try:
        return RecordTable(path)
    except (OSError, pa.ArrowException):
        return None
