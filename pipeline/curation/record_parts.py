"""The records of a run as the browsing page loads them: every one, in parts, with bounded texts.

    report/records/index-NNNNN.js   columns to filter and to sort by, of INDEX_RECORDS records each
    report/records/part-NNNNN.js    what is shown of PART_RECORDS records each

Plain scripts, since a page opened from a disk may load nothing else: `a2lPack(NAME, DATA)`, where DATA is
JSON, deflated, in base64, so that no text of a record can mean anything to a script. Input, decisions,
quarantine and dataset are streamed side by side; nothing is held for the whole of a run.
"""

import base64
import shutil
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import orjson
import polars as pl
import pyarrow.parquet as pq

from align2llava.pipeline.curation.finished_run import FinishedRun, quarantine_lines
from align2llava.pipeline.curation.layout import Decision, QuarantineLine, RewardStage
from align2llava.pipeline.curation.readers import read_elements, sha256_of
from align2llava.pipeline.curation.rows import Place, Row
from align2llava.pipeline.curation.scan import Scan
from align2llava.pipeline.curation.shown_record import ShownRecord, shown_record
from align2llava.pipeline.errors import StoreError

PART_RECORDS = 256
INDEX_RECORDS = 16_384
UID_CHARS = 12  # of a uid in the index; the part has it whole
LEVEL = 1  # of zlib: text shrinks to a third, in a third of the time of level 6
MAX_WAITING = 4  # parts that wait to be written


def write_record_parts(run: FinishedRun, folder: Path) -> int:
    """Writes all parts into `folder`, in the place of what was there, and returns their bytes.

    Raises:
        InputError: an input cannot be read, or is not what it was.
        StoreError: a write failed.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with ThreadPoolExecutor(1, thread_name_prefix="record-parts") as beside:
            return _write_all(run, _Packer(folder, beside))
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error


def _write_all(run: FinishedRun, packer: "_Packer") -> int:
    batches = _decision_batches(run.paths.decisions)
    texts = _Texts(run)
    index: list[pl.DataFrame] = []
    for number, batch in enumerate(batches):
        shown = [texts.next(cells) for cells in batch.iter_rows(named=True)]
        packer.put(f"part-{number:05d}", shown)
        index.append(_index_rows(batch))
        if len(index) * PART_RECORDS == INDEX_RECORDS:
            packer.put(f"index-{number // len(index):05d}", _columns(pl.concat(index)))
            index.clear()
    if index:
        number = run.decisions.height // INDEX_RECORDS
        packer.put(f"index-{number:05d}", _columns(pl.concat(index)))
    return packer.finish()


class _Packer:
    """Deflates and writes in a thread beside, while the next records are read."""

    def __init__(self, folder: Path, beside: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._beside = beside
        self._waiting: deque[Future[int]] = deque()
        self._num_bytes = 0

    def put(self, name: str, content: object) -> None:
        while len(self._waiting) >= MAX_WAITING:
            self._num_bytes += self._waiting.popleft().result()
        data = orjson.dumps(content)
        self._waiting.append(self._beside.submit(self._write, name, data))

    def finish(self) -> int:
        while self._waiting:
            self._num_bytes += self._waiting.popleft().result()
        return self._num_bytes

    def _write(self, name: str, data: bytes) -> int:
        packed = base64.b64encode(zlib.compress(data, LEVEL))
        script = b'a2lPack("%s","%s")\n' % (name.encode(), packed)
        return (self._folder / f"{name}.js").write_bytes(script)


def _decision_batches(path: Path) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        held: list[pl.DataFrame] = []
        # A batch ends with its row group: what is left is joined with the next.
        for batch in file.iter_batches(PART_RECORDS * 16, use_threads=False):
            found = pl.from_arrow(batch)
            assert isinstance(found, pl.DataFrame)
            whole = pl.concat([*held, found])
            full = whole.height // PART_RECORDS * PART_RECORDS
            yield from whole[:full].iter_slices(PART_RECORDS)
            held = [whole[full:]]
        yield from (rest for rest in held if rest.height)


def _index_rows(batch: pl.DataFrame) -> pl.DataFrame:
    """Returns the columns to filter and to sort by; `near`: ranks to the last stage's cut."""
    distance = pl.coalesce(_beyond(RewardStage.ANSWER), _beyond(RewardStage.QUESTION))
    return batch.select(
        "type",
        "reason",
        "stage",
        "decision",
        pl.col("question_reward").round(4).alias("question"),
        pl.col("answer_reward").round(4).alias("answer"),
        distance.alias("near"),
        pl.col("uid").str.slice(0, UID_CHARS),
    )


def _beyond(stage: RewardStage) -> pl.Expr:
    """Returns how many records stand between a record and its stage's cut; null where none was asked."""
    rank, cut = pl.col(f"{stage}_rank"), pl.col(f"{stage}_cut")
    return pl.when(rank <= cut).then(cut - rank).otherwise(rank - cut - 1)


def _columns(rows: pl.DataFrame) -> dict[str, object]:
    """Returns the columns; a name stands once in `names` and by its number in its column."""
    columns: dict[str, object] = {}
    for name in ("type", "reason", "stage", "decision"):
        names = rows[name].unique(maintain_order=True).to_list()
        places = {one: place for place, one in enumerate(names)}
        columns[name] = {"names": names, "rows": [places[one] for one in rows[name].to_list()]}
    for name in ("question", "answer", "near", "uid"):
        columns[name] = rows[name].to_list()
    return columns


class _Texts:
    """The text of each record in order, with what goes out of it and what was wrong with it."""

    def __init__(self, run: FinishedRun) -> None:
        scan = run.scan()
        self._raws = (raw for _, raw in scan.corpus.raws(_places(scan)))
        self._faults = quarantine_lines(run.paths)
        self._fault: QuarantineLine | None = next(self._faults, None)
        self._dataset = _dataset(run, run.paths.train(scan.corpus.dialect))

    def next(self, cells: dict[str, object]) -> ShownRecord:
        raw = next(self._raws)
        is_kept = cells["decision"] == Decision.KEPT
        out = next(self._dataset, raw) if is_kept else raw
        is_faulty = cells["decision"] == Decision.QUARANTINED
        message = self._message(int(str(cells["position"]))) if is_faulty else None
        return shown_record(cells, raw=raw, out=out, message=message)

    def _message(self, position: int) -> str | None:
        # The lines are in order of position; of a run of another writer a message may be missing.
        while self._fault is not None and self._fault["position"] < position:
            self._fault = next(self._faults, None)
        if self._fault is None or self._fault["position"] != position:
            return None
        return self._fault["message"]


def _places(scan: Scan) -> Iterator[Row]:
    """Yields where each record stands, without what else a row holds and nobody asks for here."""
    columns = ("position", "file", "offset", "num_bytes")
    for some in scan.table.slices(*columns, num_rows=PART_RECORDS):
        for position, *place in some.iter_rows():
            yield Row(
                position=position,
                uid=None,
                id_json=None,
                type="",
                image=None,
                fault=None,
                place=Place(*place),
            )


def _dataset(run: FinishedRun, path: Path) -> Iterator[bytes]:
    """Yields the kept records as they go out; none where the dataset is not the manifest's."""
    name = str(path.relative_to(run.paths.root))
    expected = run.manifest["files"].get(name)
    if expected is None or not path.is_file() or sha256_of(path) != expected:
        return
    dialect = "jsonl" if path.suffix == ".jsonl" else "json"
    for element in read_elements(path, dialect):
        yield element.raw
