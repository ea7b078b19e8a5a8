from pathlib import Path

import pytest

from benchmarks.driver_runs import Asking, Transport, curated, remove_run
from benchmarks.driver_world import WorldSize, remove_world, write_world


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_small_run_is_measured_from_file_to_stored_part(tmp_path: Path, transport: Transport):
    world = write_world(tmp_path, WorldSize(num_records=120, records_per_image=1))
    run_dir = tmp_path / "run"
    run = curated(world, run_dir, Asking(transport=transport, holds="seen", answer=True))
    row = run.row()
    assert run.outcome.num_input == 120
    assert 0 < run.outcome.num_kept < 120
    assert run.asked.num_images_sent >= 120
    assert run.asked.num_items > 120
    assert 0 < run.records_per_s < run.stage_records_per_s
    peak, streaming_peak = row["peak_mb"], row["streaming_peak_mb"]
    assert isinstance(peak, int | float)
    assert isinstance(streaming_peak, int | float)
    assert peak >= streaming_peak > 0
    assert run.selection_s is not None
    remove_run(run_dir)
    remove_world(world)
    assert list(tmp_path.iterdir()) == []
