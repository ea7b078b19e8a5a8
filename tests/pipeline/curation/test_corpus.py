import hashlib
import json
import os
from pathlib import Path

import orjson
import pytest

from pipeline.config import load_config
from pipeline.curation.corpus import Corpus
from pipeline.curation.readers import sha256_of
from pipeline.curation.rows import Row
from pipeline.errors import InputError
from tests.pipeline.curation.small_world import record, records, write_world


def corpus(config: Path, *, limit: int = 0) -> Corpus:
    return Corpus(load_config(config, environ={}).input, limit=limit)


def scanned(found: Corpus) -> dict[int, Row]:
    rows: list[Row] = []
    found.scan(rows.append)
    return {row.position: row for row in rows}


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


def test_inputs_are_hashed_and_counted_up_to_the_limit(tmp_path: Path):
    found = corpus(write_world(tmp_path, records(9)), limit=4)
    seen: list[Row] = []
    (entry,) = found.scan(seen.append)
    assert entry["num_records"] == len(seen) == 4
    assert entry["sha256"] == hashlib.sha256((tmp_path / "raw.json").read_bytes()).hexdigest()
    assert len(list(found.elements())) == 4
