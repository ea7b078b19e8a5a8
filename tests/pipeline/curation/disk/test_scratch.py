import os
from pathlib import Path

from align2llava.pipeline.curation.disk.scratch import MAX_FILES, MIN_AGE_SECONDS, prune


def test_only_old_files_are_removed_and_never_the_latest(tmp_path: Path):
    files = [tmp_path / f"records-{number:02d}" for number in range(MAX_FILES + 3)]
    for number, path in enumerate(files):
        path.touch()
        os.utime(path, (number, number))
    young = tmp_path / "records-young"
    young.touch()
    changed = young.stat().st_mtime - MIN_AGE_SECONDS / 2
    os.utime(young, (changed, changed))
    (tmp_path / "keys-00").touch()
    prune(tmp_path, "records-*")
    left = {path.name for path in tmp_path.glob("records-*")}
    assert left == {"records-young", *(path.name for path in files[4:])}
    assert (tmp_path / "keys-00").exists()


def test_table_of_a_run_that_goes_on_outlives_many_scans(tmp_path: Path):
    for number in range(3 * MAX_FILES):
        (tmp_path / f"records-{number}").touch()
    prune(tmp_path, "records-*")
    assert len(list(tmp_path.iterdir())) == 3 * MAX_FILES
