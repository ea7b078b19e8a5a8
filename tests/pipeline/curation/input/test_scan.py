import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from align2llava.pipeline.config.schema import Config, load_config
from align2llava.pipeline.curation.input.rows import Row
from align2llava.pipeline.curation.input.scan import Scan, scan_input
from align2llava.pipeline.curation.input.table import BATCH_ROWS
from align2llava.pipeline.errors import StoreError
from align2llava.pipeline.process.progress import LineProgress
from tests.pipeline.curation.small_world import record, records, write_world


def scanned(config: Config, *, reuses: bool = False) -> Scan:
    return scan_input(config, LineProgress(), reuses=reuses)


def loaded(folder: Path, data: Sequence[object], *sets: str) -> Config:
    return load_config(write_world(folder, data), sets=sets, environ={})


def rows(scan: Scan, positions: list[int]) -> list[Row]:
    return list(scan.table.rows(pl.Series("position", positions, dtype=pl.Int64)))


def test_rows_come_back_as_they_were_scanned(tmp_path: Path):
    data = [record(0, turns=2), {"id": "bad"}, {"conversations": record(2)["conversations"]}]
    data[0]["conversations"][1]["value"] = ["one", "two"]
    config = loaded(tmp_path, data)
    scan = scanned(config)
    first, bad, text_only = rows(scan, [0, 1, 2])
    assert first.image is not None
    assert first.image.path == (tmp_path / "images" / "0.png").resolve()
    assert first.image.num_bytes == first.image.path.stat().st_size
    assert (first.num_turns, first.num_answers, first.fault) == (2, 3, None)
    assert bad.fault is not None
    assert (bad.fault.code, bad.id_json) == ("invalid_record", '"bad"')
    assert text_only.is_text_only
    assert scan.scorable_positions().to_list() == [0]
    found = scan.decidable().select("position", "is_text_only").rows()
    assert found == [(0, False), (1, False), (2, True)]
    assert scan.faults().select("position", "code").rows() == [(1, "invalid_record")]


def test_chosen_rows_come_in_order_over_many_batches(tmp_path: Path):
    num_records = 2 * BATCH_ROWS + 5
    scan = scanned(loaded(tmp_path, [record(n % 50) for n in range(num_records)]))
    wanted = [0, 7, BATCH_ROWS - 1, BATCH_ROWS, 2 * BATCH_ROWS + 4]
    assert [row.position for row in rows(scan, wanted)] == wanted
    assert rows(scan, []) == []
    assert scan.inputs[0]["num_records"] == num_records


def test_reads_of_one_table_do_not_disturb_each_other(tmp_path: Path):
    num_records = 2 * BATCH_ROWS + 5
    scan = scanned(loaded(tmp_path, [record(n % 50) for n in range(num_records)]))
    positions = pl.Series("position", range(num_records), dtype=pl.Int64)

    def read(_number: int) -> bool:
        rows = [row.position for row in scan.table.rows(positions)]
        slices = pl.concat(scan.table.slices("position", num_rows=BATCH_ROWS))
        return rows == slices["position"].to_list() == positions.to_list()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, range(12)))


def test_table_is_used_again_while_the_files_stand(tmp_path: Path):
    config = loaded(tmp_path, records(4))
    scanned(config)
    (tmp_path / "images" / "0.png").unlink()
    assert len(scanned(config, reuses=True).scorable_positions()) == 4
    assert len(scanned(config).scorable_positions()) == 2  # read again, image and all
    (tmp_path / "raw.json").write_text(json.dumps(records(6)))
    assert scanned(config, reuses=True).inputs[0]["num_records"] == 6


def test_missing_and_broken_tables_are_made_again(tmp_path: Path):
    config = loaded(tmp_path, records(4))
    scanned(config)
    (table,) = (tmp_path / "scratch").glob("records-*.parquet")
    table.write_bytes(b"PAR1")
    assert len(scanned(config, reuses=True).scorable_positions()) == 4
    table.unlink()
    assert len(scanned(config, reuses=True).scorable_positions()) == 4


def test_failed_scan_leaves_nothing_in_the_scratch_folder(tmp_path: Path):
    config = loaded(tmp_path, records(4))
    (tmp_path / "raw.json").write_text("[{}, {]")
    with pytest.raises(Exception, match="byte"):
        scanned(config)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_scratch_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "scratch").touch()
    with pytest.raises(StoreError, match=r"scratch; set run\.scratch"):
        scanned(loaded(tmp_path, records(2)))
