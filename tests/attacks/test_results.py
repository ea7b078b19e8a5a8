"""What is committed of the attacks is of all there are, and holds; the drivers' part of it is tried anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measuring import RESULTS
from tests.attacks.__main__ import PARTS, claims
from tests.attacks.checkout import HERE
from tests.attacks.finding_drivers import of_drivers
from tests.attacks.findings import FIGURES


def told(name: str) -> dict[str, Any]:
    found = json.loads((RESULTS / f"{name}.json").read_text())
    assert not found["is_quick"]
    return found


def test_findings_are_all_told_showed_themselves_before_and_hold():
    rows = told("attacks_findings")["rows"]
    assert [row["what"] for row in rows] == [one.what for one in FIGURES.values()]
    assert {row["finding"] for row in rows} == {f"S{number}" for number in range(1, 14)}
    for row, figure in zip(rows, FIGURES.values(), strict=True):
        assert row["after"] <= figure.most == row["at_most"] < row["before"], row


def test_campaign_is_whole_and_holds():
    found = told("attacks")
    assert {row["part"] for row in found["rows"]} == PARTS.keys()
    assert found["claims"].keys() == claims([]).keys()
    for row in found["rows"]:
        # One flood's own half-close met a connection that was refused already: no answer, and no fault of a service.
        is_own = "OSError [Errno 107]" in row["note"]
        assert row["faults"] <= is_own, row
        assert (row["crashes"], row["hangs"], row["uncaught"]) == (0, 0, 0), row


def test_targets_are_those_that_are_served():
    assert not HERE.is_old
    assert HERE.target("inner-llm") == "align2llava.services.inner_llm:InnerLLM"
    assert HERE.target("question-reward") == "align2llava.services.question_reward:QuestionReward"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_driver_keeps_its_key_asks_no_proxy_and_unpacks_nothing(tmp_path: Path):
    figures = of_drivers(HERE, tmp_path / "drivers")
    assert {name: figure for name, figure in figures.items() if figure > FIGURES[name].most} == {}
