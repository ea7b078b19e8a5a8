import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.driver import Measuring, Scale, memory_claims
from benchmarks.driver_run import Outcome, StageMark
from benchmarks.driver_runs import Run
from benchmarks.measuring import Claim, NotRun, Report
from benchmarks.stub_service import Stats


def run_of(*, answer_mb: float, select_mb: float) -> Run:
    stages = [
        StageMark(stage="input", began_s=0, ended_s=1, num_records=10, peak_mb=90),
        StageMark(stage="question", began_s=1, ended_s=3, num_records=10, peak_mb=95),
        StageMark(stage="select", began_s=3, ended_s=3.25, num_records=10, peak_mb=select_mb),
        StageMark(stage="answer", began_s=4, ended_s=5, num_records=3, peak_mb=answer_mb),
        StageMark(stage="select", began_s=5, ended_s=5.25, num_records=10, peak_mb=select_mb),
    ]
    outcome = Outcome(
        stages=stages,
        total_s=6,
        cpu_s=5,
        peak_mb=max(answer_mb, select_mb),
        num_input=10,
        num_kept=1,
        num_quarantined=0,
    )
    asked = Stats(num_messages=2, num_groups=8, num_items=16, cpu_s=0.0016)
    return Run(outcome=outcome, asked=asked)


def test_selection_does_not_count_as_a_streaming_stage():
    short, long = run_of(answer_mb=100, select_mb=100), run_of(answer_mb=125, select_mb=400)
    ratio, peak = memory_claims([short, long]).values()
    assert ratio == Claim(value=1.25, goal="<= 1.2", holds=False)
    assert peak == Claim(value=400, goal="<= 600", holds=True)


def test_memory_that_was_not_measured_is_not_claimed():
    assert all(isinstance(claim, NotRun) for claim in memory_claims([]).values())


def test_row_counts_from_the_start_of_the_input():
    run = run_of(answer_mb=100, select_mb=100)
    row = run.row()
    assert row["records_per_s"] == 10 / 3
    assert row["question_stage_per_s"] == 5
    assert row["messages_per_s"] == 2 / 3
    assert row["groups_a_message"] == 4
    stub_us = row["stub_us_an_item"]
    assert isinstance(stub_us, float)
    assert abs(stub_us - 100) < 1e-9
    assert run.selection_s == 0.5


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_part_fills_its_rows_and_claims(tmp_path: Path):
    report = Report("driver", is_quick=True)
    scale = Scale(
        stub_messages=20, floor=64, known=120, sent=40, llava=120, rounds=2, memory=(120, 240)
    )
    measuring = Measuring(report=report, scale=scale, folder=tmp_path)
    measuring.stub()
    measuring.floor()
    measuring.known(None)
    measuring.sent()
    measuring.llava()
    measuring.memory()
    result = json.loads(report.json())
    parts = Counter(row["part"] for row in result["rows"])
    assert parts == {
        "stub alone": 2,
        "floor": 9,
        "known by hash": 4,
        "100 KB sent": 2,
        "JSON array read": 2,
        "LLaVA's size": 2,
        "memory": 2,
    }
    claims = result["claims"]
    assert len(claims) == 10
    not_run = [name for name, claim in claims.items() if claim["holds"] is None]
    assert len(not_run) == 3  # the peer, and those that are about LLaVA's size alone
    sent = [row for row in result["rows"] if row["part"] == "100 KB sent"]
    assert [row["images_sent"] for row in sent] == [40, 40]
    assert not any(path.name.startswith("raw") for path in tmp_path.rglob("*"))
