import asyncio
import threading
import time
from itertools import pairwise

import pytest

from align2llava.services.surfaces.turns import LARGE_BYTES, in_turn


async def test_small_work_is_done_at_once_and_large_work_elsewhere():
    here = threading.get_ident()
    assert await in_turn(LARGE_BYTES, threading.get_ident) == here
    assert await in_turn(LARGE_BYTES + 1, threading.get_ident) != here


async def test_large_work_is_done_one_at_a_time_with_as_long_a_rest():
    spans: list[tuple[float, float]] = []

    def work() -> None:
        began = time.monotonic()
        time.sleep(0.05)
        spans.append((began, time.monotonic()))

    await asyncio.gather(*(in_turn(LARGE_BYTES + 1, work) for _ in range(3)))
    for (began, ended), (next_began, _) in pairwise(spans):
        assert next_began - ended >= ended - began


async def test_error_of_large_work_is_raised_where_it_is_waited_for():
    with pytest.raises(ZeroDivisionError):
        await in_turn(LARGE_BYTES + 1, divmod, 1, 0)
