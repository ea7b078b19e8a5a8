import gc
import weakref

import pytest

from align2llava.pipeline.process.gc_pauses import YOUNG_OBJECTS, rare_collections


class Cycle:
    def __init__(self) -> None:
        self.own = self


def test_collector_is_as_before_afterwards_whatever_happens():
    before = gc.get_threshold()

    def fail() -> None:
        with rare_collections():
            assert gc.get_threshold()[0] == YOUNG_OBJECTS
            assert gc.get_freeze_count() > 0
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_cycles_are_still_collected():
    with rare_collections():
        gone = weakref.ref(Cycle())
        held = [[number] for number in range(2 * YOUNG_OBJECTS)]
        assert gone() is None
        assert len(held) > YOUNG_OBJECTS
