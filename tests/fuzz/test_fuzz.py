"""A bounded part of the campaign, the same inputs each time: `make fuzz` runs the whole."""

import json
from pathlib import Path

import pytest

from tests.fuzz.__main__ import RESULT
from tests.fuzz.all_targets import TARGETS
from tests.fuzz.campaign import run_target
from tests.fuzz.mutator import Seed, mutated

SEED = 1
_BOUNDED = 400  # inputs of the parsers that are fast; a fortieth of the campaign of the others


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TARGETS)
def test_parser_answers_damaged_input_with_a_typed_error_or_not_at_all(name: str, tmp_path: Path):
    target = TARGETS[name]
    num_inputs = min(_BOUNDED, target.num_inputs // 20)
    # pytest's own timeout ends a hang: it uses the same timer.
    tally = run_target(target, tmp_path, seed=SEED, num_inputs=num_inputs, stops_hangs=False)
    told = [f"{one.signature}: {one.data[:300]!r}" for one in tally.failures.values()]
    assert (tally.uncaught, tally.faults) == (0, 0), "\n".join(told)
    assert tally.accepted + tally.refused == num_inputs


def test_same_seed_gives_the_same_inputs():
    import random

    seed = Seed(body=b'{"a": [1, {"b": "c"}]}', grammar="json")
    first, second = ([mutated(seed, random.Random(n)) for n in range(50)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 30


def test_committed_campaign_is_of_every_parser_and_holds():
    figures = json.loads(RESULT.read_text())
    assert {row["name"]: row["tried"] for row in figures["rows"]} == {
        target.name: target.num_inputs for target in TARGETS.values()
    }
    assert all(claim["holds"] for claim in figures["claims"].values())
