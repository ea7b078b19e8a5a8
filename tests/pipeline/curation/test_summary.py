from pathlib import Path

from pipeline.curation.summary import summary_text
from tests.pipeline.curation.small_world import records, run, write_world


def test_summary_tells_how_firm_the_cuts_are(tmp_path: Path):
    summary = run(write_world(tmp_path, records(40)), tmp_path / "run")
    assert [(one.stage, one.num_compared, one.rms) for one in summary.noise] == [
        ("question", 16, 0.0),
        ("answer", 12, 0.0),
    ]
    assert {one.num_fragile for one in summary.fragile} == {0}
    lines = summary_text(summary).splitlines()
    assert (
        "question rewards: no noise (16 canaries, 16 comparisons, all equal), so that no decision "
        "is fragile"
    ) in lines


def test_summary_without_canaries_says_that_noise_was_not_measured(tmp_path: Path):
    config = write_world(tmp_path, records(12))
    summary = run(config, tmp_path / "run", sets=("run.canaries=0",))
    assert not summary.noise
    assert {one.num_fragile for one in summary.fragile} == {None}
    text = summary_text(summary)
    assert "question rewards: noise was not measured, as no canary was compared" in text
