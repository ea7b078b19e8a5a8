import json
from dataclasses import asdict

from benchmarks.driver_run import Outcome, StageMark, StageMarks, outcome_of, peak_memory_mb

NUM_BYTES = 64_000_000


def test_peak_of_a_stage_is_its_own():
    marks = StageMarks()
    marks.start("large", total=None)
    block = b"x" * NUM_BYTES
    marks.finish()
    del block
    marks.start("small", total=None)
    marks.advance(3)
    marks.finish()
    large, small = marks.marks
    assert large.peak_mb > small.peak_mb + 0.8 * NUM_BYTES / 1e6
    assert marks.peak_mb >= large.peak_mb
    assert small.num_records == 3
    assert large.ended_s <= small.began_s <= small.ended_s


def test_peak_is_of_this_process_in_megabytes():
    assert 10 < peak_memory_mb() < 100_000


def test_outcome_is_read_back_as_printed():
    mark = StageMark(stage="select", began_s=1.0, ended_s=2.5, num_records=4, peak_mb=9.0)
    outcome = Outcome(
        stages=[mark],
        total_s=3.0,
        cpu_s=2.0,
        peak_mb=10.0,
        num_input=4,
        num_kept=1,
        num_quarantined=0,
    )
    read = outcome_of(f"a line of progress\n{json.dumps(asdict(outcome))}\n")
    assert read == outcome
    assert read.of("select")[0].seconds == 1.5
    assert read.of("answer") == []
