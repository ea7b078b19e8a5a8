import struct

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from align2llava.pipeline.curation.selection.answer_rewards import best_candidates, record_rewards

SCHEMA = {"uid": pl.UInt128, "turn": pl.Int32, "candidate": pl.Int32, "reward": pl.Float32}
REWARD = st.sampled_from([-0.0, 0.0, 0.5]) | st.floats(-100, 100, width=32)
RECORD = st.lists(st.lists(REWARD, min_size=1, max_size=4), min_size=1, max_size=9)


def slots(records: dict[int, list[list[float]]]) -> pl.DataFrame:
    rows = [
        (uid, turn, candidate, reward)
        for uid, turns in records.items()
        for turn, candidates in enumerate(turns)
        for candidate, reward in enumerate(candidates)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def rewards(records: dict[int, list[list[float]]]) -> dict[int, float]:
    return dict(record_rewards(slots(records)).select("uid", "reward").iter_rows())


def by_the_letter(turns: list[list[float]]) -> float:
    total = 0.0
    for candidates in turns:
        total += max(candidates)
    return struct.unpack("<f", struct.pack("<f", total / len(turns)))[0]


def test_record_reward_is_the_mean_of_the_best_of_each_turn():
    assert rewards({1: [[0.0, 1.0], [0.5]], 2: [[2.0]]}) == {1: 0.75, 2: 2.0}


@given(records=st.dictionaries(st.integers(0, 2**128 - 1), RECORD, max_size=5))
def test_record_rewards_are_those_of_the_rule_by_the_letter(
    records: dict[int, list[list[float]]],
):
    assert rewards(records) == {uid: by_the_letter(turns) for uid, turns in records.items()}


@given(records=st.dictionaries(st.integers(0, 2**128 - 1), RECORD, max_size=5), seed=st.integers())
def test_stored_order_of_slots_changes_nothing(records: dict[int, list[list[float]]], seed: int):
    shuffled = slots(records).sample(fraction=1, shuffle=True, seed=seed % 2**32)
    found = record_rewards(shuffled).sort("uid")
    assert found.equals(record_rewards(slots(records)).sort("uid"))
    assert best_candidates(shuffled) == best_candidates(slots(records))


def test_equal_best_candidates_give_the_lowest_index():
    found = best_candidates(slots({1: [[0.1, 0.7, 0.7], [0.0, -0.0]]}))
    assert dict(found) == {1: [1, 0]}


def test_slots_are_counted_so_that_a_missing_answer_is_seen():
    found = record_rewards(slots({1: [[0.0, 1.0], [0.5]]}))
    assert found["num_slots"].to_list() == [3]
