from dataclasses import replace

import polars as pl
import pytest

from align2llava.pipeline.curation.figures.spend import ScoreTotals, service_paces
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.report.figures import ReportFigures, StageRule, report_figures
from align2llava.pipeline.curation.report.page import render_page, summary, tiles
from tests.pipeline.curation.figures.test_noise import noise
from tests.pipeline.curation.figures.test_spend import answered
from tests.pipeline.curation.report.test_figures import findings
from tests.pipeline.curation.selection.test_baselines import run_table


def figures(rules: dict[str, StageRule], stratum: str = "type") -> ReportFigures:
    found = findings(stratum)
    provenance = replace(found.provenance, rules=rules)
    return report_figures(run_table(), replace(found, provenance=provenance))


def cut_table() -> pl.DataFrame:
    return run_table().with_columns(question_cut=10)


SCORES = ScoreTotals(
    stage=RewardStage.QUESTION, num_rewards=400, num_tokens=1, num_truncated=0, device_s=1.0
)
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
    assert label in [tile.label for tile in tiles(report_figures(cut_table(), findings("type")))]
    assert label not in [tile.label for tile in tiles(figures({}))]  # its cuts let all pass


def test_measured_noise_takes_the_place_of_the_margin():
    measured = replace(findings("type"), noise=(noise(0.5),))
    shown = {tile.label: tile.value for tile in tiles(report_figures(cut_table(), measured))}
    assert int(shown["decisions within noise of a cut"]) > 0
    assert "smallest reward margin at a cut" not in shown


def test_page_says_whether_noise_was_measured():
    table = cut_table()
    unknown = render_page(report_figures(table, findings("type")), examples=[], rewrites=[])
    assert "noise was not measured" in unknown
    assert "swatch fragile" not in unknown
    measured = replace(findings("type"), noise=(noise(0.5),))
    page = render_page(report_figures(table, measured), examples=[], rewrites=[])
    assert "are fragile; noise rms 0.5" in page
    assert '<rect class="fragile"' in page


def test_throughput_is_shown_for_each_service_that_answered():
    events = [answered(2.0, 100), answered(4.0, 300), answered(3.0, 10, "inner-llm")]
    found = replace(findings("type"), paces=tuple(service_paces(events)), scores=(SCORES,))
    page = render_page(report_figures(run_table(), found), examples=[], rewrites=[])
    assert "Throughput over time" in page
    assert "peak 150.0 items/s" in page
    assert "over 4.0 s: 50.0, 150.0" in page


def test_page_of_a_run_that_kept_and_read_nothing_can_be_made():
    empty = run_table(0)
    page = render_page(report_figures(empty, findings("type")), examples=[], rewrites=[])
    assert "0 of 0 records kept" in page
    assert "Rewards and cuts" not in page
