from align2llava.pipeline.curation.report.text import report_text
from align2llava.pipeline.curation.report.write import write_report
from tests.pipeline.curation.run_fixture import RunFixture


def test_shares_good_are_printed_beside_random_and_length_matched(own_run: RunFixture):
    written = write_report(own_run.run, truth=own_run.truth)
    lines = report_text(written.figures).splitlines()
    assert "good by the truth" in lines[1]
    by_set = {line[2:26].strip(): line for line in lines[2:8]}
    assert list(by_set) == [
        "All input",
        "Kept by this run",
        "Random",
        "Length-matched random",
        "Longest",
        "Bottom-ranked",
    ]
    assert by_set["Kept by this run"].count("%") == 3
    assert lines[-4].startswith("smallest reward margin at a cut: ")
    assert lines[-3].startswith("question rewards: ")
    assert "are fragile; noise rms 0.03, largest 0.08 (16 canaries" in lines[-3]
    assert lines[-1].startswith("rewrites: ")
    assert lines[-2].startswith("answer rewards: no noise (16 canaries")


def test_without_truth_no_share_is_printed(own_run: RunFixture):
    assert "truth" not in report_text(write_report(own_run.run).figures)
