"""The drivers' part of the findings on this tree; and what is committed is of every finding there is."""

import json
from pathlib import Path

import pytest

from benchmarks.measuring import RESULTS
from tests.attacks.checkout import HERE
from tests.attacks.finding_drivers import of_drivers
from tests.attacks.findings import FIGURES


def test_committed_figures_are_of_every_finding_and_hold():
    told = json.loads((RESULTS / "attacks_findings.json").read_text())
    assert [row["what"] for row in told["rows"]] == [one.what for one in FIGURES.values()]
    assert {row["finding"] for row in told["rows"]} == {f"S{number}" for number in range(1, 14)}
    for row, figure in zip(told["rows"], FIGURES.values(), strict=True):
        assert row["after"] <= figure.most == row["at_most"]
        assert row["before"] > figure.most, "what was found showed itself"
    assert not told["is_quick"]


def test_targets_are_those_that_are_served():
    assert not HERE.is_old
    assert HERE.target("inner-llm") == "align2llava.services.inner_llm:InnerLLM"
    assert HERE.target("question-reward") == "align2llava.services.question_reward:QuestionReward"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_driver_keeps_its_key_asks_no_proxy_and_unpacks_nothing(tmp_path: Path):
    figures = of_drivers(HERE, tmp_path / "drivers")
    assert {name: figure for name, figure in figures.items() if figure > FIGURES[name].most} == {}
