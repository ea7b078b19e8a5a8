"""The pool over scripted replicas without a network; over real transports it is in tests/contract."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from align2llava.clients.errors import (
    ClientError,
    DeadlineError,
    InvalidRequestError,
    OtherModelError,
    OverloadedError,
    ServerFaultError,
    UnauthenticatedError,
    UnavailableError,
)
from align2llava.clients.pool.hedging import Hedging
from align2llava.clients.pool.pool import MAX_LOST, Pool
from align2llava.clients.pool.slots import Member
from align2llava.clients.wire.schemas import ModelIdentity

SHAPE = ("score", 6)


def model(identity: str = "right") -> ModelIdentity:
    return ModelIdentity(
        name="m", kind="question-reward", identity=identity, weights_sha256="w", dtype="float32"
    )


@dataclass(frozen=True)
class Answer:
    url: str
    model: ModelIdentity


class Stub:
    """A replica; `act` is called with the number of the call, from 0, and may raise or wait."""

    def __init__(self, act: Callable[[int], Awaitable[None]], identity: str = "right") -> None:
        self.act = act
        self.identity = identity
        self.url = ""
        self.num_calls = self.num_cancelled = 0
        self.in_flight = self.most_in_flight = 0

    async def __call__(self, left_s: float) -> Answer:
        assert left_s > 0
        number, self.num_calls = self.num_calls, self.num_calls + 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.act(number)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        return Answer(url=self.url, model=model(self.identity))


async def send(stub: Stub, left_s: float) -> Answer:
    return await stub(left_s)


def at_once() -> Stub:
    async def act(_number: int) -> None:
        await asyncio.sleep(0)

    return Stub(act)


def failing(error: Callable[[], ClientError], num_calls: int = 10**9) -> Stub:
    async def act(number: int) -> None:
        await asyncio.sleep(0)
        if number < num_calls:
            raise error()

    return Stub(act)


def hanging() -> Stub:
    async def act(_number: int) -> None:
        await asyncio.sleep(60)

    return Stub(act)


class Pooled:
    def __init__(
        self,
        *stubs: Stub,
        max_in_flight: int = 16,
        scheme: str = "grpc://",
        hedging: Hedging | None = None,
    ) -> None:
        self.expelled: list[tuple[str, str]] = []
        for number, stub in enumerate(stubs):
            stub.url = f"{scheme}{number}"
        self.pool = Pool(
            [Member(stub.url, stub, max_in_flight=max_in_flight) for stub in stubs],
            model=model(),
            on_expelled=lambda url, identity: self.expelled.append((url, identity)),
            hedging=hedging,
        )

    async def call(self, *, timeout_s: float = 5.0) -> Answer:
        return await self.pool.call(send, shape=SHAPE, timeout_s=timeout_s)

    async def calls(self, num_calls: int, *, timeout_s: float = 5.0) -> list[Answer]:
        calls = (self.call(timeout_s=timeout_s) for _ in range(num_calls))
        return await asyncio.gather(*calls)


async def test_calls_are_shared_among_replicas():
    stubs = [at_once() for _ in range(3)]
    await Pooled(*stubs).calls(60)
    assert all(stub.num_calls >= 15 for stub in stubs)


async def test_no_more_calls_are_out_than_the_limit_and_waiting_is_no_error():
    stub = at_once()
    answers = await Pooled(stub, max_in_flight=3).calls(50)
    assert len(answers) == 50
    assert stub.most_in_flight <= 3


async def test_waiting_for_a_place_does_not_count_against_the_deadline():
    async def act(_number: int) -> None:
        await asyncio.sleep(0.02)

    answers = await Pooled(Stub(act), max_in_flight=1).calls(20, timeout_s=0.1)
    assert len(answers) == 20


async def test_refusals_are_waited_out_and_nothing_fails():
    stub = failing(lambda: OverloadedError("full"), num_calls=5)
    assert len(await Pooled(stub).calls(20)) == 20


async def test_storm_of_refusals_does_not_spin():
    stub = failing(lambda: OverloadedError("full"))
    pooled = Pooled(stub, max_in_flight=64)
    with pytest.raises(UnavailableError, match=r"for 0\.5 s; the last error: overloaded: full"):
        await pooled.calls(100, timeout_s=0.5)
    assert stub.num_calls < 20


async def test_sick_replica_holds_no_place_while_it_backs_off():
    """Back-off at one replica costs the others nothing."""
    sick, well = failing(lambda: OverloadedError("full", retry_after_s=60)), at_once()
    async with asyncio.timeout(20):
        answers = await Pooled(sick, well).calls(100)
    assert {answer.url for answer in answers} == {well.url}
    assert sick.num_calls <= 2


async def test_replica_that_is_away_is_left_alone_and_calls_go_elsewhere():
    away, well = failing(lambda: UnavailableError("gone")), at_once()
    answers = await Pooled(away, well).calls(200)
    assert {answer.url for answer in answers} == {well.url}
    assert away.num_calls < 10


async def test_replica_that_comes_back_is_asked_again():
    away, well = failing(lambda: UnavailableError("gone"), num_calls=6), at_once()
    pooled = Pooled(away, well)
    await pooled.calls(50)
    await asyncio.sleep(0.25)
    async with asyncio.timeout(20):
        while away.num_calls < 20:
            await pooled.calls(10)
            await asyncio.sleep(0.01)


async def test_pool_that_answers_nothing_for_the_time_of_a_call_is_unavailable():
    pooled = Pooled(*(failing(lambda: UnavailableError("gone")) for _ in range(2)))
    with pytest.raises(UnavailableError, match=r"nothing was answered for 0\.3 s.*gone"):
        await pooled.calls(10, timeout_s=0.3)


async def test_refusal_of_the_request_is_raised_at_once():
    stub = failing(lambda: InvalidRequestError("no"))
    with pytest.raises(InvalidRequestError):
        await Pooled(stub).call()
    assert stub.num_calls == 1


async def test_refused_key_is_raised_at_once():
    with pytest.raises(UnauthenticatedError):
        await Pooled(failing(lambda: UnauthenticatedError("no such key")), at_once()).calls(2)


async def test_internal_is_tried_twice_more_and_elsewhere():
    sick, well = failing(lambda: ServerFaultError("x")), at_once()
    assert (await Pooled(sick, well).call()).url == well.url
    stub = failing(lambda: ServerFaultError("x"))
    with pytest.raises(ServerFaultError):
        await Pooled(stub).call()
    assert stub.num_calls == 3


async def test_deadline_is_left_to_the_caller():
    stub = failing(lambda: DeadlineError("late"))
    with pytest.raises(DeadlineError):
        await Pooled(stub).call()
    assert stub.num_calls == 1


async def test_call_that_takes_replicas_down_is_at_fault_itself():
    """One record that crashes its server is a fault of that record, not the end of the run."""
    pooled = Pooled(at_once(), at_once())

    async def deadly(_stub: Stub, _left_s: float) -> Answer:
        await pooled.calls(2)  # the others are answered meanwhile
        raise UnavailableError("connection reset")

    with pytest.raises(ServerFaultError, match=f"went away or refused {MAX_LOST + 1} times"):
        await pooled.pool.call(deadly, shape=SHAPE, timeout_s=5)


async def test_lying_replica_is_put_out_and_its_answer_is_not_used():
    liar, honest = at_once(), at_once()
    liar.identity = "other"
    pooled = Pooled(liar, honest)
    answers = await pooled.calls(40)
    assert {answer.url for answer in answers} == {honest.url}
    assert pooled.expelled == [(liar.url, "other")]
    num_asked = liar.num_calls
    await pooled.calls(40)
    assert liar.num_calls == num_asked


async def test_pool_of_liars_is_an_error():
    liars = [at_once(), at_once()]
    for liar in liars:
        liar.identity = "other"
    pooled = Pooled(*liars)
    with pytest.raises(OtherModelError):
        await pooled.calls(10)
    assert len(pooled.expelled) == 2


def warm() -> Hedging:
    """Has seen calls of 1 ms, and may send many second ones."""
    hedging = Hedging()
    for _ in range(400):
        hedging.sent()
        hedging.answered(SHAPE, 0.001)
    return hedging


async def test_late_call_is_asked_for_again_elsewhere_and_the_loser_is_cancelled():
    slow, fast = hanging(), at_once()
    pooled = Pooled(slow, fast, hedging=warm())
    async with asyncio.timeout(20):
        answers = await pooled.calls(4, timeout_s=20)
    assert {answer.url for answer in answers} == {fast.url}
    assert slow.num_cancelled == slow.num_calls >= 1
    assert slow.in_flight == 0


async def test_calls_at_a_stuck_replica_are_asked_for_again_though_no_place_is_idle():
    stuck, busy = at_once(), at_once()
    pooled = Pooled(stuck, busy, max_in_flight=2)
    await pooled.calls(800)
    stuck.act = hanging().act
    is_done = False

    async def keep_busy() -> None:
        while not is_done:
            await pooled.call()

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(pooled.call(timeout_s=20)) for _ in range(4)]
        for _ in range(12):
            tasks.create_task(keep_busy())
        assert {answer.url for answer in await asyncio.gather(*calls)} == {busy.url}
        is_done = True
    assert stuck.num_cancelled >= 1


async def test_second_calls_stay_within_their_budget():
    async def act(number: int) -> None:
        await asyncio.sleep(0.004 if number % 3 == 0 else 0.001)

    stubs = [Stub(act), Stub(act)]
    await Pooled(*stubs).calls(400)
    num_second = sum(stub.num_calls for stub in stubs) - 400
    assert num_second <= 20


async def test_one_replica_alone_is_not_asked_twice():
    slow = hanging()
    pooled = Pooled(slow, hedging=warm())
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await pooled.call()
    assert slow.num_calls == 1


async def test_name_of_many_servers_is_asked_twice():
    """gRPC sends each call of a dns:/// channel to the next server."""

    async def act(number: int) -> None:
        await asyncio.sleep(60 if number == 0 else 0)

    stub = Stub(act)
    pooled = Pooled(stub, scheme="dns:///", hedging=warm())
    async with asyncio.timeout(20):
        await pooled.call(timeout_s=20)
    assert (stub.num_calls, stub.num_cancelled) == (2, 1)


async def test_fault_of_the_caller_s_own_leaves_the_place_free():
    stub = at_once()
    pooled = Pooled(stub, max_in_flight=1)

    async def unreadable(_stub: Stub, _left_s: float) -> Answer:
        raise FileNotFoundError("a.jpg")

    with pytest.raises(FileNotFoundError):
        await pooled.pool.call(unreadable, shape=SHAPE, timeout_s=5)
    assert (await pooled.call()).url == stub.url


@pytest.mark.parametrize("delay_s", [0.0, 0.01])
async def test_cancelled_calls_leave_every_place_free(delay_s: float):
    slow, slow_too = hanging(), hanging()
    pooled = Pooled(slow, slow_too, max_in_flight=4)
    tasks = [asyncio.create_task(pooled.call()) for _ in range(20)]
    await asyncio.sleep(delay_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert slow.in_flight == slow_too.in_flight == 0
    for stub in (slow, slow_too):
        stub.act = at_once().act
    async with asyncio.timeout(20):
        await pooled.calls(20)
