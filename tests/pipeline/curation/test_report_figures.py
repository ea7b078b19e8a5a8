from pipeline.config import Config
from pipeline.curation.layout import QuarantineLine
from pipeline.curation.report_figures import (
    ALL_TYPES,
    Findings,
    Provenance,
    quarantine_groups,
    report_figures,
    stage_rules,
)
from tests.pipeline.curation.tables import decisions_table
from tests.pipeline.curation.test_baselines import run_table


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
        times=(),
        provenance=provenance,
    )


def test_cuts_are_by_type_where_types_are_the_strata():
    figures = report_figures(run_table(), findings("type"))
    assert {row.type for row in figures.rewards} == {"conversation", "detail"}


def test_cut_is_one_for_all_types_where_there_are_no_strata():
    figures = report_figures(run_table(), findings("none"))
    assert [row.type for row in figures.rewards] == [ALL_TYPES]
    assert {row.type for row in figures.counts} == {"conversation", "detail"}


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
