from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.config import SelectionConfig
from pipeline.curation.cascade import StageOutcome, all_pass, check_keeps, fate_of, select
from pipeline.curation.records import Fault
from pipeline.curation.rows import ImageRef, Row
from pipeline.errors import ConfigError

FAULT = Fault(code="internal", message="x")


def row(position: int, *, kind: str = "detail", fault: Fault | None = None, image: bool = True):
    return Row(
        position=position,
        uid=f"{position:032x}",
        id_json=None,
        type=kind,
        image=ImageRef(path=Path("a"), sha256="0" * 64) if image else None,
        fault=fault,
    )


def outcome(
    rewards: dict[int, float], faults: dict[int, Fault], keep: str = "0.5", **selection: str
):
    return select(
        {position: row(position) for position in (*rewards, *faults)},
        rewards=rewards,
        faults=faults,
        keep=Decimal(keep),
        selection=SelectionConfig.model_validate(selection),
        seed=0,
    )


def fate(one: Row, question: StageOutcome, answer: StageOutcome, *, keeps: bool = False):
    found = fate_of(one, question=question, answer=answer, keeps_text_only=keeps)
    return found.stage, found.decision, found.reason


def test_every_way_through_the_cascade():
    question = outcome({0: 3.0, 1: 2.0, 2: 1.0, 3: 0.0, 4: -1.0, 5: -2.0}, {6: FAULT})
    assert question.passed == {0, 1, 2}
    answer = outcome({0: 0.0, 1: 1.0}, {2: FAULT})
    assert fate(row(0), question, answer) == ("answer", "dropped", "below_answer_cut")
    assert fate(row(1), question, answer) == ("done", "kept", "kept")
    assert fate(row(2), question, answer) == ("answer", "quarantined", "internal")
    assert fate(row(3), question, answer) == ("question", "dropped", "below_question_cut")
    assert fate(row(6), question, answer) == ("question", "quarantined", "internal")
    bad = row(7, fault=Fault(code="invalid_json", message="x"))
    assert fate(bad, question, answer) == ("input", "quarantined", "invalid_json")
    text = row(8, image=False)
    assert fate(text, question, answer) == ("input", "dropped", "text_only")
    assert fate(text, question, answer, keeps=True) == ("done", "kept", "kept")


def test_record_that_was_never_scored_is_never_selected():
    question = outcome({0: 1.0}, {}, keep="1")
    nothing = outcome({}, {}, keep="1")
    assert fate(row(5), question, nothing)[1] == "dropped"
    assert fate(row(0), question, nothing)[1] == "dropped"


def test_stage_that_is_off_lets_all_pass():
    off = all_pass([row(0), row(1)])
    assert fate(row(1), off, off) == ("done", "kept", "kept")
    assert not off.rewards
    assert not off.placings


def test_one_stratum_competes_together():
    rows = {0: row(0, kind="detail"), 1: row(1, kind="conversation")}
    selection = SelectionConfig(stratum="none")
    found = select(
        rows,
        rewards={0: 1.0, 1: 2.0},
        faults={},
        keep=Decimal("0.5"),
        selection=selection,
        seed=0,
    )
    assert found.passed == {1}


def test_map_of_keeps_needs_every_stratum_of_the_stages_that_are_on():
    rows = [row(0, kind="detail"), row(1, kind="other")]
    partial = {"detail": Decimal("0.5")}
    check_keeps(rows, SelectionConfig(question_keep=partial, question=False))
    with pytest.raises(ConfigError, match=r"question_keep: no keep for stratum 'other'"):
        check_keeps(rows, SelectionConfig(question_keep=partial))
    check_keeps(rows, SelectionConfig(answer_keep={**partial, "other": Decimal(1)}))
