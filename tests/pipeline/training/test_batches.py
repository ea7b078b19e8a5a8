from collections import Counter

import pytest

from align2llava.pipeline.training.batches import groups_of_step


def places(step: int, **changes) -> list[int]:
    return groups_of_step(**({"num_groups": 10, "per_step": 4, "step": step, "seed": 0} | changes))


def test_an_epoch_holds_every_group_once_and_the_next_has_another_order():
    seen = [place for step in range(5) for place in places(step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_step_is_a_pure_function_of_seed_and_step():
    assert places(3) == places(3)
    assert places(3) != places(3, seed=1)


@pytest.mark.parametrize("per_step", [1, 7, 10, 25])
def test_every_step_is_full(per_step):
    counts = Counter(place for step in range(10) for place in places(step, per_step=per_step))
    assert counts.total() == 10 * per_step
    assert max(counts.values()) - min(counts.values()) <= 1
