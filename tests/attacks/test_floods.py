"""A bounded part of the floods, the same inputs each time; and that they find what they are there to find."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks import flood_forms as forms
from tests.attacks.floods import FLOODS, rows

LEAST = 20  # of each flood, at the scale below

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_live_services_stand_floods_of_damaged_traffic(tmp_path: Path):
    made = list(rows(tmp_path, seed=1, scale=0.01))
    assert {one.name for one in made} == {flood.name for flood in FLOODS}
    for one in made:
        assert one.is_held, one
        assert one.refused + one.accepted == one.tried >= LEAST, one
        assert one.refused > 0, one
    assert {one.name for one in made if one.accepted == 0} <= {"damaged paths at answer-reward"}


def test_whole_campaign_is_large_enough():
    numbers = dict.fromkeys(("REST", "gRPC", forms.IMAGES), 0)
    for flood in FLOODS:
        numbers[forms.IMAGES if flood.form == forms.IMAGES else flood.transport] += flood.num_inputs
    assert numbers["REST"] >= 100_000
    assert numbers["gRPC"] >= 100_000
    assert numbers[forms.IMAGES] >= 80_000
