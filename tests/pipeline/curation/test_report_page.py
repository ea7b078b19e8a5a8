from dataclasses import replace

import pytest

from pipeline.curation.report_figures import ReportFigures, StageRule, report_figures
from pipeline.curation.report_page import render_page, summary, tiles
from tests.pipeline.curation.test_baselines import run_table
from tests.pipeline.curation.test_report_figures import findings


def figures(rules: dict[str, StageRule], stratum: str = "type") -> ReportFigures:
    found = findings(stratum)
    provenance = replace(found.provenance, rules=rules)
    return report_figures(run_table(), replace(found, provenance=provenance))


ON = StageRule(is_on=True, keep="0.3")
OFF = StageRule(is_on=False, keep="0.3")
MAP = StageRule(is_on=True, keep={"detail": "0.1", "conversation": "0.5"})


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"question": ON, "answer": ON}, "Question rewards keep the best 30 % and answer rewards"),
        ({"question": OFF, "answer": ON}, "Answer rewards keep the best 30 %, within each type."),
        ({"question": OFF, "answer": OFF}, "No stage selected."),
        ({"question": MAP, "answer": OFF}, "Question rewards keep 10 % of detail, 50 % of conv"),
    ],
    ids=["both stages", "answer only", "none", "a map"],
)
def test_summary_says_how_records_were_chosen(rules: dict[str, StageRule], told: str):
    assert told in summary(figures(rules))


def test_summary_without_strata_says_so():
    assert "over all types" in summary(figures({"question": ON, "answer": OFF}, "none"))


def test_smallest_margin_is_a_tile_where_there_is_a_cut():
    label = "smallest reward margin at a cut"
    with_cut = run_table().with_columns(question_cut=10)
    assert label in [tile.label for tile in tiles(report_figures(with_cut, findings("type")))]
    assert label not in [tile.label for tile in tiles(figures({}))]  # its cuts let all pass


def test_page_of_a_run_that_kept_and_read_nothing_can_be_made():
    empty = run_table(0)
    page = render_page(report_figures(empty, findings("type")), examples=[], rewrites=[])
    assert "0 of 0 records kept" in page
    assert "Rewards and cuts" not in page
