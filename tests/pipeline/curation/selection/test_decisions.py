from decimal import Decimal

import polars as pl

from align2llava.pipeline.config.schema import SelectionConfig
from align2llava.pipeline.curation.selection.contenders import with_stratum
from align2llava.pipeline.curation.selection.decisions import (
    Answers,
    StageOutcome,
    all_pass,
    decisions_of,
    select,
)

TYPES = SelectionConfig()


def records(positions: list[int], **columns: object) -> pl.DataFrame:
    rows = [
        {
            "position": position,
            "uid": position,
            "type": "detail",
            "is_text_only": False,
        }
        | columns
        for position in positions
    ]
    schema = {
        "position": pl.Int64,
        "uid": pl.UInt128,
        "type": pl.Categorical,
        "is_text_only": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema)


def faults(positions: list[int], *, code: str = "invalid_json") -> pl.DataFrame:
    schema = {"position": pl.Int64, "code": pl.String, "message": pl.String}
    return pl.DataFrame([(at, code, "x") for at in positions], schema=schema, orient="row")


def strata(rows: pl.DataFrame, selection: SelectionConfig = TYPES) -> pl.DataFrame:
    return with_stratum(rows.lazy(), selection).collect()


def answers(rewards: dict[int, float], faulty: list[int]) -> Answers:
    found = faults(faulty, code="internal")
    return Answers(
        rewards=pl.DataFrame(
            {"uid": rewards.keys(), "reward": rewards.values()},
            schema={"uid": pl.UInt128, "reward": pl.Float32},
        ),
        faults=found.rename({"position": "uid"}).cast({"uid": pl.UInt128}),
    )


def outcome(rewards: dict[int, float], faulty: list[int], *, keep: str = "0.5") -> StageOutcome:
    rows = strata(records([*rewards, *faulty]))
    return select(rows, answers(rewards, faulty), keep=Decimal(keep), seed=0)


def passed(found: StageOutcome) -> set[int]:
    return set(found.table.filter("passes")["position"])


def fate(
    position: int,
    question: StageOutcome,
    answer: StageOutcome,
    *,
    bad: tuple[int, ...] = (),
    is_text_only: bool = False,
    keeps: bool = False,
):
    rows = records(list(range(9)), is_text_only=is_text_only)
    found = decisions_of(
        rows, question=question, answer=answer, faults=faults(list(bad)), keeps_text_only=keeps
    )
    return found.table.select("stage", "decision", "reason").row(position)


def test_every_way_through_the_cascade():
    question = outcome({0: 3.0, 1: 2.0, 2: 1.0, 3: 0.0, 4: -1.0, 5: -2.0}, [6])
    assert passed(question) == {0, 1, 2}
    answer = outcome({0: 0.0, 1: 1.0}, [2])
    expected = {
        0: ("answer", "dropped", "below_answer_cut"),
        1: ("done", "kept", "kept"),
        2: ("answer", "quarantined", "internal"),
        3: ("question", "dropped", "below_question_cut"),
        6: ("question", "quarantined", "internal"),
    }
    for position, verdict in expected.items():
        assert fate(position, question, answer) == verdict
    bad = fate(7, question, answer, bad=(7,))
    assert bad == ("input", "quarantined", "invalid_json")
    text = fate(8, question, answer, is_text_only=True)
    assert text == ("input", "dropped", "text_only")
    kept = fate(8, question, answer, is_text_only=True, keeps=True)
    assert kept == ("done", "kept", "kept")


def test_decisions_show_what_each_stage_found_and_the_message_of_a_fault():
    question = outcome({0: 3.0, 1: 2.0}, [2], keep="1")
    answer = outcome({0: 0.5}, [1], keep="1")
    decisions = decisions_of(
        records([0, 1, 2]),
        question=question,
        answer=answer,
        faults=faults([]),
        keeps_text_only=False,
    )
    found = decisions.table
    assert found["position"].to_list() == [0, 1, 2]
    assert found["question_reward"].to_list() == [3.0, 2.0, None]
    assert found["question_rank"].to_list() == [1, 2, None]
    assert found["question_cut"].to_list() == [2, 2, None]
    assert found["answer_reward"].to_list() == [0.5, None, None]
    assert sorted(decisions.messages.rows()) == [(1, "x"), (2, "x")]


def test_record_that_was_never_scored_is_never_selected_and_counted_as_missing():
    rows = strata(records([0, 1, 2]))
    question = select(rows, answers({0: 1.0}, [2]), keep=Decimal(1), seed=0)
    assert question.num_missing == 1
    assert passed(question) == {0}
    nothing = outcome({}, [])
    assert fate(1, question, nothing)[1] == "dropped"
    assert fate(0, question, nothing)[1] == "dropped"


def test_stored_reward_wins_over_an_earlier_fault():
    rows = strata(records([0]))
    found = select(rows, answers({0: 1.0}, [0]), keep=Decimal(1), seed=0)
    assert found.faults.is_empty()
    assert passed(found) == {0}


def test_stage_that_is_off_lets_all_pass():
    off = all_pass(records([0, 1]))
    assert fate(1, off, off) == ("done", "kept", "kept")
    assert off.table["reward"].null_count() == off.table["rank"].null_count() == 2


def test_one_stratum_competes_together():
    rows = pl.concat([records([0]), records([1], type="conversation")])
    selection = SelectionConfig(stratum="none")
    found = select(
        strata(rows, selection), answers({0: 1.0, 1: 2.0}, []), keep=Decimal("0.5"), seed=0
    )
    assert passed(found) == {1}
