from dataclasses import replace

import polars as pl

from align2llava.pipeline.config.schema import Config
from align2llava.pipeline.curation.figures.decisions import MEASURES
from align2llava.pipeline.curation.figures.spend import ScoreTotals
from align2llava.pipeline.curation.layout import QuarantineLine, RewardStage
from align2llava.pipeline.curation.report.figures import (
    ALL_TYPES,
    Findings,
    Provenance,
    quarantine_groups,
    report_figures,
    stage_rules,
)
from tests.pipeline.curation.figures.test_noise import noise
from tests.pipeline.curation.selection.test_baselines import run_table
from tests.pipeline.curation.tables import decisions_table


def findings(stratum: str) -> Findings:
    provenance = Provenance(
        run="run",
        seed=0,
        stratum=stratum,
        rules={},
        inputs=(),
        identities={},
        files={},
        config_yaml="",
    )
    return Findings(
        sets=(),
        truth=None,
        rewrites=None,
        quarantine=(),
        scores=(),
        noise=(),
        times=(),
        paces=(),
        provenance=provenance,
    )


def test_cuts_are_by_type_where_types_are_the_strata():
    figures = report_figures(run_table(), findings("type"))
    assert {row.type for row in figures.rewards} == {"conversation", "detail"}


def test_cut_is_one_for_all_types_where_there_are_no_strata():
    figures = report_figures(run_table(), findings("none"))
    assert [row.type for row in figures.rewards] == [ALL_TYPES]
    assert {row.type for row in figures.counts} == {"conversation", "detail"}


def test_fragile_decisions_are_held_against_the_cut_of_their_stratum():
    measured = replace(findings("none"), noise=(noise(1000.0),))
    (found,) = report_figures(run_table().with_columns(question_cut=10), measured).fragile
    assert found.type == ALL_TYPES
    assert found.num_fragile == found.num_scored


def test_device_time_is_told_for_each_kept_record():
    totals = [
        ScoreTotals(stage=stage, num_rewards=1, num_tokens=1, num_truncated=0, device_s=3.0)
        for stage in RewardStage
    ]
    table = decisions_table([{"reason": "kept"}] * 4 + [{"reason": "internal"}])
    lengths = {name: [1] * 5 for name in MEASURES}
    found = replace(findings("type"), scores=tuple(totals))
    with_lengths = table.hstack(pl.DataFrame(lengths))
    assert report_figures(with_lengths, found).device_s_per_kept_record == 1.5
    assert report_figures(with_lengths, findings("type")).device_s_per_kept_record is None


def line(position: int, code: str, message: str = "m") -> QuarantineLine:
    return QuarantineLine(
        position=position, uid="u", stage="input", code=code, message=message, attempts=0
    )


def test_quarantine_counts_decisions_and_shows_the_first_line_of_a_code():
    table = decisions_table([{"reason": "internal"}, {"reason": "internal"}, {"reason": "kept"}])
    lines = [line(2, "internal", "of a record that came through later"), line(1, "internal", "x")]
    (group,) = quarantine_groups(table, lines)
    assert (group.code, group.num_records, group.position, group.message) == (
        "internal",
        2,
        1,
        "x",
    )


def test_long_messages_are_cut():
    table = decisions_table([{"reason": "internal"}])
    (group,) = quarantine_groups(table, [line(0, "internal", "y" * 9000)])
    assert len(group.message) == 500


def test_rules_hold_keeps_as_they_were_written():
    config = Config.model_validate(
        {
            "input": {"path": "raw.json"},
            "endpoints": {
                name: {"url": "http://127.0.0.1:1"}
                for name in ("question_reward", "answer_reward", "inner_llm")
            },
            "selection": {"answer": False, "question_keep": {"detail": "0.10"}},
        }
    )
    rules = stage_rules(config)
    assert rules["question"].keep == {"detail": "0.10"}
    assert rules["answer"].keep == "0.3"
    assert not rules["answer"].is_on
