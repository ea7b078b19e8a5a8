"""The records of a run as the browsing page loads them: every one, in parts, with bounded texts.

    report/records/index-NNNNN.js   columns to filter and to sort by, of INDEX_RECORDS records each
    report/records/part-NNNNN.js    what is shown of PART_RECORDS records each

Plain scripts, since a page opened from a disk may load nothing else: `a2lPack(NAME, DATA)`, where DATA is
JSON, deflated, in base64, so that no text of a record can mean anything to a script. Input,
decisions, quarantine and dataset are streamed side by side; nothing is held for the whole of a run.
"""

import base64
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from align2llava.pipeline.curation.input.files import read_elements, sha256_of
from align2llava.pipeline.curation.input.rows import Span
from align2llava.pipeline.curation.input.scan import Scan
from align2llava.pipeline.curation.layout import Decision, QuarantineLine, RewardStage
from align2llava.pipeline.curation.report.browsing.record import ShownRecord, bounded, shown_record
from align2llava.pipeline.curation.run.finished import FinishedRun, quarantine_lines
from align2llava.pipeline.errors import StoreError

PART_RECORDS = 256
INDEX_RECORDS = 16_384
UID_CHARS = 12  # of a uid in the index; the part has the rest
LEVEL = 1  # of zlib: text shrinks to a third, in a third of the time of level 6
_STANDINGS = [f"{stage}_{what}" for stage in RewardStage for what in ("reward", "rank", "cut")]


def write_record_parts(run: FinishedRun, folder: Path) -> int:
    """Writes all parts into `folder`, in the place of what was there, and returns their bytes.

    Raises:
        InputError: an input cannot be read, or is not what it was.
        StoreError: a write failed.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return _write_all(run, folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error


def _write_all(run: FinishedRun, folder: Path) -> int:
    texts = _Texts(run)
    num_bytes = num_parts = 0
    for number, some in enumerate(_decisions(run.paths.decisions)):
        num_bytes += _write(folder, f"index-{number:05d}", _index(some))
        for part in _parts(some):
            num_bytes += _write(folder, f"part-{num_parts:05d}", _part(part, texts))
            num_parts += 1
    return num_bytes


def _write(folder: Path, name: str, content: object) -> int:
    packed = base64.b64encode(zlib.compress(orjson.dumps(content), LEVEL))
    script = b'a2lPack("%s","%s")\n' % (name.encode(), packed)
    return (folder / f"{name}.js").write_bytes(script)


def _decisions(path: Path) -> Iterator[pl.DataFrame]:
    """Yields the decisions, `INDEX_RECORDS` at once."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        held: list[pl.DataFrame] = []
        # A batch ends with its row group: what is left is joined with the next.
        for batch in file.iter_batches(INDEX_RECORDS, use_threads=False):
            found = pl.from_arrow(batch)
            assert isinstance(found, pl.DataFrame)
            whole = pl.concat([*held, found])
            full = whole.height // INDEX_RECORDS * INDEX_RECORDS
            yield from whole[:full].iter_slices(INDEX_RECORDS)
            held = [whole[full:]]
        yield from (rest for rest in held if rest.height)


def _index(some: pl.DataFrame) -> dict[str, object]:
    """Returns the columns to filter and to sort by; `near`: ranks to the last stage's cut.

    A name stands once in `names` and by its number in its column.
    """
    distance = pl.coalesce(_beyond(RewardStage.ANSWER), _beyond(RewardStage.QUESTION))
    rows = some.select(
        pl.col("question_reward").cast(pl.Float64).round(4).alias("question"),
        pl.col("answer_reward").cast(pl.Float64).round(4).alias("answer"),
        distance.alias("near"),
        pl.col("uid").str.slice(0, UID_CHARS),
    )
    columns: dict[str, object] = {**rows.to_dict(as_series=False)}
    for name in ("type", "reason", "stage", "decision"):
        names = some[name].unique(maintain_order=True)
        numbers = some[name].cast(pl.Enum(names)).to_physical()
        columns[name] = {"names": names.to_list(), "rows": numbers.to_list()}
    return columns


def _beyond(stage: RewardStage) -> pl.Expr:
    """Returns how many records stand between a record and its stage's cut; null where none was asked."""
    rank, cut = pl.col(f"{stage}_rank"), pl.col(f"{stage}_cut")
    return pl.when(rank <= cut).then(cut - rank).otherwise(rank - cut - 1)


def _parts(some: pl.DataFrame) -> Iterator[dict[str, list[Any]]]:
    """Yields the columns that a part needs, `PART_RECORDS` records at once."""
    names = ("position", "decision", "id", *_STANDINGS)
    # Lists are cut, since to cut a table so often takes as long as to write the parts.
    columns = some.select(*names, pl.col("uid").str.slice(UID_CHARS)).to_dict(as_series=False)
    for first in range(0, some.height, PART_RECORDS):
        yield {name: column[first : first + PART_RECORDS] for name, column in columns.items()}


def _part(part: Mapping[str, list[Any]], texts: "_Texts") -> dict[str, object]:
    """Returns the columns that say who a record is and where it stands, and `texts`, a record each."""
    found = [*texts.of(part["position"], part["decision"])]
    assert len(found) == len(part["uid"])
    return {
        "uid": part["uid"],
        "id": [None if one is None else bounded(one) for one in part["id"]],
        **{name: part[name] for name in _STANDINGS},
        "texts": found,
    }


class _Texts:
    """The text of each record in order, with what goes out of it and what was wrong with it."""

    def __init__(self, run: FinishedRun) -> None:
        scan = run.scan()
        self._raws = scan.corpus.texts(_places(scan))
        self._faults = quarantine_lines(run.paths)
        self._fault: QuarantineLine | None = next(self._faults, None)
        self._dataset = _dataset(run, run.paths.train(scan.corpus.dialect))

    def of(self, positions: list[int], decisions: list[str]) -> Iterator[ShownRecord]:
        """Yields the next records, which stand at `positions`."""
        for position, decision, raw in zip(positions, decisions, self._raws, strict=False):
            out, message = raw, None
            if decision == Decision.KEPT:
                out = next(self._dataset, raw)
            elif decision == Decision.QUARANTINED:
                message = self._message(position)
            yield shown_record(raw, out=out, message=message)

    def _message(self, position: int) -> str | None:
        # The lines are in order of position; of a run of another writer a message may be missing.
        while self._fault is not None and self._fault["position"] < position:
            self._fault = next(self._faults, None)
        if self._fault is None or self._fault["position"] != position:
            return None
        return self._fault["message"]


def _places(scan: Scan) -> Iterator[Span]:
    for some in scan.table.slices("file", "offset", "num_bytes", num_rows=INDEX_RECORDS):
        yield from map(Span._make, some.iter_rows())


def _dataset(run: FinishedRun, path: Path) -> Iterator[bytes]:
    """Yields the kept records as they go out; none where the dataset is not the manifest's."""
    name = str(path.relative_to(run.paths.root))
    expected = run.manifest["files"].get(name)
    if expected is None or not path.is_file() or sha256_of(path) != expected:
        return
    dialect = "jsonl" if path.suffix == ".jsonl" else "json"
    for element in read_elements(path, dialect):
        yield element.raw
