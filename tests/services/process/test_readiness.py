"""A core that hangs and comes back, behind a door that knows no patience."""

import asyncio

import pytest

from align2llava.services.core.admission import Admission
from align2llava.services.errors import DeadlineError, InternalError
from align2llava.services.process.readiness import Readiness
from tests.services.in_process import until


class Core:
    is_running = True
    is_stuck = False

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.error: Exception | None = None

    async def warm_up(self) -> None:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error


def door(*, is_doubted: bool) -> Admission:
    made = Admission(max_items=9, max_bytes=9, patience_s=0.0)
    if is_doubted:
        with pytest.raises(DeadlineError), made.admit(num_items=1, num_bytes=0):
            raise DeadlineError("late")
    assert made.is_doubted == is_doubted
    return made


async def test_core_that_is_not_doubted_is_not_asked():
    core = Core()
    readiness = Readiness(core, door(is_doubted=False), patience_s=9)
    await readiness.settle()
    assert (readiness.is_ready, readiness.is_hopeless, core.asked) == (True, False, 0)


async def test_doubted_core_is_not_ready_until_it_answers():
    core = Core()
    readiness = Readiness(core, door(is_doubted=True), patience_s=9)
    settling = asyncio.ensure_future(readiness.settle())
    await until(lambda: core.asked == 1)
    assert (readiness.is_ready, readiness.is_hopeless) == (False, False)
    core.answers.set()
    await settling
    assert (readiness.is_ready, readiness.is_hopeless) == (True, False)


async def test_core_that_never_answers_is_given_up():
    readiness = Readiness(Core(), door(is_doubted=True), patience_s=0.02)
    await readiness.settle()
    assert (readiness.is_ready, readiness.is_hopeless) == (False, True)


async def test_core_that_fails_has_not_answered():
    core = Core()
    core.error = InternalError("no")
    core.answers.set()
    readiness = Readiness(core, door(is_doubted=True), patience_s=0.02)
    await readiness.settle()
    assert readiness.is_hopeless


async def test_core_that_says_it_is_stuck_is_not_ready_and_may_come_back():
    core = Core()
    readiness = Readiness(core, door(is_doubted=False), patience_s=9)
    core.is_stuck = True
    assert (readiness.is_ready, readiness.is_hopeless) == (False, False)
    core.is_stuck = False
    assert readiness.is_ready


async def test_core_that_died_is_hopeless():
    core = Core()
    readiness = Readiness(core, door(is_doubted=False), patience_s=9)
    core.is_running = False
    assert (readiness.is_ready, readiness.is_hopeless) == (False, True)
