import asyncio

import pytest

from align2llava.clients.errors import (
    BadAnswerError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ServerFaultError,
    UnauthenticatedError,
    UnavailableError,
)
from align2llava.pipeline.curation.stages.calls import (
    MAX_BAD_ANSWERS,
    Belief,
    call_bounded,
    stop_if_unusable,
)
from align2llava.pipeline.errors import EndpointError, StoreError


async def test_no_more_calls_run_at_once_than_allowed_and_all_are_made():
    running = most = 0
    done: list[int] = []

    async def call(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done.append(number)

    await call_bounded(iter(range(1, 30)), call, max_calls=4)
    assert sorted(done) == list(range(1, 30))
    assert most == 4


async def test_source_is_read_no_further_than_needed():
    read: list[int] = []
    go_on = asyncio.Event()

    def source():
        for number in range(1, 20):
            read.append(number)
            yield number

    async def call(_number: int) -> None:
        await go_on.wait()

    task = asyncio.create_task(call_bounded(source(), call, max_calls=3))
    await asyncio.sleep(0.05)
    assert len(read) == 3
    go_on.set()
    await task
    assert len(read) == 19


async def test_first_error_stops_the_rest_and_comes_out_as_it_is():
    ended: list[str] = []

    async def call(number: int) -> None:
        if number == 2:
            raise StoreError("full")
        try:
            await asyncio.sleep(5)
        finally:
            ended.append("cancelled")

    with pytest.raises(StoreError, match="full"):
        await call_bounded(iter((1, 2, 3)), call, max_calls=2)
    assert ended


@pytest.mark.parametrize("error", [UnavailableError, UnauthenticatedError, OverloadedError])
def test_service_that_cannot_be_used_stops_at_once(error: type):
    with pytest.raises(EndpointError, match="name: "):
        stop_if_unusable("name", error("x"))


@pytest.mark.parametrize("error", [InvalidRequestError, ServerFaultError, DeadlineError])
def test_fault_of_one_call_does_not_stop(error: type):
    stop_if_unusable("name", error("x"))


def test_a_service_whose_answers_to_record_after_record_are_bad_stops_the_run():
    belief = Belief("question-reward")
    for _ in range(MAX_BAD_ANSWERS - 1):
        belief.lose(BadAnswerError("reward: too large"))
    with pytest.raises(EndpointError, match=r"question-reward: 8 records in a row.*too large"):
        belief.lose(BadAnswerError("reward: too large"))


def test_a_good_answer_or_another_fault_in_between_is_belief():
    belief = Belief("question-reward")
    for _ in range(5 * MAX_BAD_ANSWERS):
        belief.lose(BadAnswerError("nothing"))
        belief.keep()
        belief.lose(BadAnswerError("nothing"))
        belief.lose(ServerFaultError("failed"))
