import math
from typing import Any

import pytest

from align2llava.pipeline.curation.figures.noise import (
    Fragility,
    Noise,
    fragile_decisions,
    measured_noise,
)
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.errors import RunError
from tests.pipeline.curation.tables import decisions_table


def compared(service: str = "question-reward", **changes: object) -> dict[str, object]:
    event = {
        "event": "canaries_compared",
        "service": service,
        "identity": "a",
        "num_canaries": 4,
        "num_compared": 4,
        "num_moved": 2,
        "rms": 0.1,
        "largest": 0.15,
    }
    return event | changes


def ranked(rewards: list[float], *, cut: int, kind: str = "detail") -> list[dict]:
    return [
        {"type": kind, "question_reward": reward, "question_rank": rank, "question_cut": cut}
        for rank, reward in enumerate(rewards, start=1)
    ]


def noise(rms: float, stage: RewardStage = RewardStage.QUESTION) -> Noise:
    return Noise(
        stage=stage,
        num_canaries=4,
        num_rounds=1,
        num_compared=4,
        num_moved=4,
        rms=rms,
        largest=2 * rms,
    )


def test_noise_is_pooled_over_rounds_and_starts():
    events = [
        compared(),
        {"event": "run_started"},
        compared(num_compared=12, num_canaries=12, rms=0.3, largest=0.9, num_moved=12),
    ]
    (found,) = measured_noise(events)
    assert found.stage is RewardStage.QUESTION
    assert (found.num_canaries, found.num_rounds) == (12, 2)
    assert (found.num_compared, found.num_moved) == (16, 14)
    assert found.rms == pytest.approx(math.sqrt((4 * 0.01 + 12 * 0.09) / 16))
    assert found.largest == 0.9


def test_rounds_of_an_identity_that_is_gone_do_not_count():
    (found,) = measured_noise([compared(identity="old", rms=5.0, largest=9.0), compared()])
    assert (found.rms, found.largest, found.num_rounds) == (pytest.approx(0.1), 0.15, 1)


def test_stages_are_measured_apart():
    events = [compared("answer-reward", rms=0.0, largest=0.0, num_moved=0), compared()]
    question, answer = measured_noise(events)
    assert (question.num_moved, answer.num_moved) == (2, 0)


def test_round_in_which_nothing_could_be_compared_measures_nothing():
    assert measured_noise([compared(num_compared=0)]) == []


@pytest.mark.parametrize(
    "changes", [{"rms": []}, {"num_moved": -1}, {"largest": 2**900}, {"num_compared": math.nan}]
)
def test_event_without_its_number_is_named(changes: dict[str, Any]):
    (name,) = changes
    with pytest.raises(RunError, match=f"canaries_compared has no number {name}"):
        measured_noise([compared(**changes)])


def test_decisions_within_two_rms_of_the_other_side_are_fragile():
    table = decisions_table(ranked([3.0, 1.05, 1.0, 0.9, 0.7, -2.0], cut=3))
    # The cut lies between 1.0 and 0.9; 1.05 is 0.15 above 0.9, 0.7 is 0.3 below 1.0.
    for rms, num_fragile in ((0.04, 0), (0.0501, 2), (0.0751, 3), (0.151, 4)):
        (found,) = fragile_decisions(table, [noise(rms)])
        assert found == Fragility(
            stage=RewardStage.QUESTION, type="detail", num_scored=6, num_fragile=num_fragile
        )


def test_no_noise_makes_no_decision_fragile_not_even_ties_at_the_cut():
    (found,) = fragile_decisions(decisions_table(ranked([1.0, 1.0, 1.0], cut=2)), [noise(0.0)])
    assert found.num_fragile == 0


def test_ties_at_the_cut_are_fragile_where_there_is_any_noise():
    (found,) = fragile_decisions(decisions_table(ranked([1.0, 1.0, 1.0], cut=2)), [noise(1e-9)])
    assert found.num_fragile == 3


@pytest.mark.parametrize("cut", [0, 3], ids=["none passed", "all passed"])
def test_cut_that_divides_nothing_has_no_fragile_decisions(cut: int):
    (found,) = fragile_decisions(decisions_table(ranked([3.0, 2.0, 1.0], cut=cut)), [noise(9.0)])
    assert found.num_fragile == 0


def test_stage_without_canaries_is_not_measured():
    table = decisions_table(ranked([3.0, 2.0], cut=1))
    (found,) = fragile_decisions(table, [noise(1.0, RewardStage.ANSWER)])
    assert found.num_fragile is None


def test_each_type_is_held_against_its_own_cut():
    rows = ranked([3.0, 2.0], cut=1) + ranked([3.0, 2.95], cut=1, kind="conversation")
    found = {
        one.type: one.num_fragile for one in fragile_decisions(decisions_table(rows), [noise(0.1)])
    }
    assert found == {"detail": 0, "conversation": 2}
