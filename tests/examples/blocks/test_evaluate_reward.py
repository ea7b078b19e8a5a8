import json
from typing import Any, cast

import pytest

from examples.blocks.defects import Defect
from examples.blocks.evaluate_reward import (
    BLOCKS,
    Pair,
    Truth,
    evaluate,
    is_twin_pair,
    ordered_pairs,
    read_truths,
    share_right,
)

GOOD = Truth(score=0.9, defects=frozenset(), twin=0)
WRONG = Truth(score=0.3, defects=frozenset({Defect.WRONG_ANSWER}), twin=0)
FOREIGN = Truth(score=0.5, defects=frozenset({Defect.FOREIGN_STYLE}), twin=2)
FOREIGN_WRONG = Truth(
    score=0.0, defects=frozenset({Defect.FOREIGN_STYLE, Defect.WRONG_ANSWER}), twin=2
)


def test_pairs_are_ordered_by_the_noise_free_score_and_ties_are_none():
    assert list(ordered_pairs([GOOD, WRONG, GOOD])) == [
        Pair(chosen=0, rejected=1),
        Pair(chosen=2, rejected=1),
    ]


@pytest.mark.parametrize(
    ("better", "worse", "expected"),
    [
        pytest.param(GOOD, WRONG, True, id="right and wrong in one style"),
        pytest.param(FOREIGN, FOREIGN_WRONG, True, id="both foreign, one wrong"),
        pytest.param(GOOD, FOREIGN, False, id="a defect that the text shows"),
        pytest.param(GOOD, FOREIGN_WRONG, False, id="another style"),
    ],
)
def test_twins_differ_in_what_the_picture_alone_shows(better, worse, expected):
    assert is_twin_pair(Pair(chosen=0, rejected=1), [better, worse]) is expected


def test_shares_count_their_pairs():
    assert share_right([True, True, False, True]) == {"pairs": 4, "accuracy": 0.75}
    assert share_right([]) == {"pairs": 0, "accuracy": 0.0}


def test_truths_are_found_by_picture_and_turn(tmp_path):
    line = {"id": "a", "turn": 1, "score": 0.3, "defects": ["wrong_answer"], "twin": 0}
    (tmp_path / "t.jsonl").write_text(json.dumps(line) + "\n")
    assert read_truths(tmp_path / "t.jsonl")["a", 1] == [WRONG]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["question", "answer"])
def test_the_committed_figures_are_those_of_the_committed_weights(kind):
    folder = BLOCKS / "models" / f"{kind}-reward"
    recorded = json.loads((folder / "figures.json").read_text())
    measured = cast("dict[str, Any]", evaluate(kind, folder))
    assert measured["weights_sha256"] == recorded["weights_sha256"]
    for name in ("noise_free", "twins", "twins_swapped"):
        assert measured[name]["pairs"] == recorded[name]["pairs"]
        assert measured[name]["accuracy"] == pytest.approx(recorded[name]["accuracy"], abs=0.002)
