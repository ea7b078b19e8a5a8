import hashlib
import json
import os
import tempfile
from pathlib import Path

import orjson
import polars as pl
import pytest

from align2llava.pipeline.config.schema import load_config
from align2llava.pipeline.curation.input.corpus import Corpus
from align2llava.pipeline.curation.input.files import ArrayStyle, sha256_of
from align2llava.pipeline.curation.input.rows import Row, RowBatch
from align2llava.pipeline.curation.input.table import RecordTableWriter
from align2llava.pipeline.errors import InputError
from tests.pipeline.curation.small_world import record, records, write_world


def corpus(config: Path, *, limit: int = 0) -> Corpus:
    return Corpus(load_config(config, environ={}).input, limit=limit)


def scanned(found: Corpus) -> dict[int, Row]:
    with tempfile.TemporaryDirectory() as folder:
        writer = RecordTableWriter(Path(folder) / "records.parquet")
        inputs = found.scan(writer.write)
        table = writer.finish(inputs, found.style)
        positions = pl.Series(range(sum(entry["num_records"] for entry in inputs)), dtype=pl.Int64)
        return {row.position: row for row in table.rows(positions)}


def test_uid_is_of_sorted_json_and_image(tmp_path: Path):
    one = record(3)
    rows = scanned(corpus(write_world(tmp_path, [one])))
    image_sha256 = sha256_of(tmp_path / "images" / str(one["image"]))
    data = orjson.dumps(one, option=orjson.OPT_SORT_KEYS) + b"\0" + image_sha256.encode()
    assert rows[0].uid == hashlib.blake2b(data, digest_size=16).hexdigest()


def test_missing_image_counts_as_zeros_in_the_uid(tmp_path: Path):
    one = {**record(3), "image": "nowhere.png"}
    rows = scanned(corpus(write_world(tmp_path, [one])))
    data = orjson.dumps(one, option=orjson.OPT_SORT_KEYS) + b"\0" + b"0" * 64
    assert rows[0].uid == hashlib.blake2b(data, digest_size=16).hexdigest()
    assert rows[0].fault is not None


def test_invalid_record_has_the_uid_of_its_image(tmp_path: Path):
    one = {**record(3), "conversations": []}
    rows = scanned(corpus(write_world(tmp_path, [one])))
    image_sha256 = sha256_of(tmp_path / "images" / str(one["image"]))
    data = orjson.dumps(one, option=orjson.OPT_SORT_KEYS) + b"\0" + image_sha256.encode()
    assert rows[0].uid == hashlib.blake2b(data, digest_size=16).hexdigest()


def test_records_are_loaded_again_in_order_and_only_the_usable_ones(tmp_path: Path):
    data = [*records(4), {"id": "bad"}, record(9)]
    found = corpus(write_world(tmp_path, data))
    rows = scanned(found)
    loaded = list(found.load([rows[1], rows[4], rows[5]]))
    assert [one.row.position for one in loaded] == [1, 5]
    assert json.loads(loaded[1].raw) == record(9)


def test_file_that_changes_between_passes_ends_the_run(tmp_path: Path):
    found = corpus(write_world(tmp_path, records(4)))
    rows = scanned(found)
    os.utime(tmp_path / "raw.json", ns=(1, 1))
    with pytest.raises(InputError, match="changed during the run"):
        list(found.load(rows.values()))


def test_file_that_grew_shorter_under_the_driver_ends_the_run(tmp_path: Path):
    found = corpus(write_world(tmp_path, records(400), dialect="jsonl"))
    rows = scanned(found)
    loaded = found.load(rows.values())
    next(loaded)
    os.truncate(tmp_path / "raw.jsonl", 100)
    with pytest.raises(InputError, match="changed during the run"):
        list(loaded)


def test_file_that_was_overwritten_in_place_ends_the_run(tmp_path: Path):
    found = corpus(write_world(tmp_path, records(4)))
    rows = scanned(found)
    raw = tmp_path / "raw.json"
    before = raw.stat()
    raw.write_bytes(b" " * before.st_size)
    os.utime(raw, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="changed during the run"):
        list(found.load(rows.values()))


def test_bytes_of_any_row_are_found_again_the_faulty_too(tmp_path: Path):
    data = [record(0), {"id": "bad"}, record(2)]
    found = corpus(write_world(tmp_path, data))
    rows = scanned(found)
    raws = [json.loads(raw) for _, raw in found.raws([rows[1], rows[2]])]
    assert raws == data[1:]


def test_style_is_that_of_the_first_file_whatever_the_limit(tmp_path: Path):
    config = write_world(tmp_path, records(5))
    (tmp_path / "raw.json").write_bytes(b'[\n {"id": 1} ,\n  {"id": 2} ,\n {"id": 3}\t\n]\n')
    found = corpus(config, limit=1)
    scanned(found)
    assert found.style == ArrayStyle(opening=b"[\n ", between=b" ,\n  ", closing=b"\t\n]\n")


def test_inputs_are_hashed_and_counted_up_to_the_limit(tmp_path: Path):
    found = corpus(write_world(tmp_path, records(9)), limit=4)
    seen: list[RowBatch] = []
    (entry,) = found.scan(seen.append)
    assert entry["num_records"] == sum(batch.num_rows for batch in seen) == 4
    assert entry["sha256"] == hashlib.sha256((tmp_path / "raw.json").read_bytes()).hexdigest()
