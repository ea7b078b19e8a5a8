"""Several replicas of one service as one client: choice, slots, retries, second calls, identity.

The replicas' own clients make one attempt and do not retry; see docs/concurrency.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from align2llava.clients.errors import (
    ClientError,
    DeadlineError,
    ItemsRefusedError,
    ServerFaultError,
    UnavailableError,
)
from align2llava.clients.pool.hedging import Hedging
from align2llava.clients.pool.limit import Shape
from align2llava.clients.pool.slots import Member, Slot, Slots
from align2llava.clients.retry import may_retry
from align2llava.clients.wire.codes import TABLE, Retry
from align2llava.clients.wire.schemas import ModelIdentity

logger = logging.getLogger(__name__)

MAX_LOST = (
    5  # times a replica goes away under a call, or refuses its items, while others are answered
)


class _Answer(Protocol):
    @property
    def model(self) -> ModelIdentity: ...


A = TypeVar("A", bound=_Answer)
B = TypeVar("B")
C = TypeVar("C")
Send = Callable[[C, float], Awaitable[A]]  # a client and the time left, in s
Expelled = Callable[[str, str], None]  # the replica's URL and the identity it answered with


class _ForeignAnswerError(Exception):
    """An answer of another model came; its replica is out of the pool now."""


class Pool(Generic[C]):
    """The replicas of one service, all of one identity."""

    def __init__(
        self,
        members: Sequence[Member[C]],
        *,
        model: ModelIdentity,
        on_expelled: Expelled,
        hedging: Hedging | None = None,
    ) -> None:
        """`hedging` None = one that knows no latency yet."""
        self.model = model
        self._members = tuple(members)
        self._slots = Slots(self._members)
        self._hedging = Hedging() if hedging is None else hedging
        self._on_expelled = on_expelled

    async def call(self, send: Send[C, A], *, shape: Shape, timeout_s: float) -> A:
        """Returns the answer of a replica, asking again as the code table allows.

        `timeout_s` bounds the time a call is in flight, all its attempts together; waiting for a
        slot does not count.

        Raises:
            ClientError: the last one; see also `Slots.ask`.
        """
        self._hedging.sent()
        left_s = timeout_s
        trouble = _Trouble(self._slots.num_answers)
        failed: Member[C] | None = None
        while True:
            slot = await self._slot(shape, timeout_s=timeout_s, avoid=failed)
            failed = slot.member
            started = asyncio.get_running_loop().time()
            try:
                return await self._hedged(slot, send, timeout_s=left_s)
            except _ForeignAnswerError:
                continue
            except ClientError as error:
                left_s -= asyncio.get_running_loop().time() - started
                trouble.check(error, num_answers=self._slots.num_answers)
                if left_s <= 0:
                    raise DeadlineError(f"no answer within {timeout_s:g} s") from error

    def admit(self, member: Member[C], model: ModelIdentity) -> bool:
        """Returns whether a replica is of the pool's model; one that is not is put out of the pool."""
        if model.identity == self.model.identity:
            return True
        if not member.is_expelled:
            member.is_expelled = True
            logger.warning(
                "%s answered as %s; the pool is %s: it is asked no more",
                member.url,
                model.identity,
                self.model.identity,
            )
            self._on_expelled(member.url, model.identity)
        return False

    def close(self) -> None:
        """Ends what the pool itself has running; the clients are closed by who made them."""
        self._slots.close()

    async def _slot(self, shape: Shape, *, timeout_s: float, avoid: Member[C] | None) -> Slot[C]:
        asked = self._slots.ask(shape, timeout_s=timeout_s, avoid=avoid)
        try:
            return await asked
        except asyncio.CancelledError:
            self._slots.withdraw(asked)
            raise

    async def _hedged(self, slot: Slot[C], send: Send[C, A], *, timeout_s: float) -> A:
        late_s = self._hedging.delay_s(slot.permit.ticket.shape)
        is_alone = len(self._members) == 1 and not slot.member.is_many
        if late_s is None or is_alone:
            return await self._attempt(slot, send, timeout_s=timeout_s)
        first = asyncio.create_task(self._attempt(slot, send, timeout_s=timeout_s))
        try:
            done, _ = await asyncio.wait((first,), timeout=late_s)
            if done:
                return await first
            return await self._raced(first, slot, send=send, timeout_s=timeout_s - late_s)
        finally:
            await _ended(first)

    async def _raced(
        self, first: asyncio.Task[A], slot: Slot[C], *, send: Send[C, A], timeout_s: float
    ) -> A:
        """Returns the answer of the call in flight, or of a second one where it comes sooner.

        The second takes an idle slot; where there is none for half of the time left, it queues for one.
        """
        shape = slot.permit.ticket.shape
        asked = self._slots.ask_idle(shape, avoid=slot.member)
        second: asyncio.Task[A] | None = None
        try:
            if not await _any_done(first, asked, timeout_s=timeout_s / 2):
                self._slots.withdraw(asked)
                asked = self._slots.ask(shape, timeout_s=timeout_s, avoid=slot.member)
                await _any_done(first, asked, timeout_s=None)
            is_hopeless = asked.done() and asked.exception() is not None
            if first.done() or is_hopeless or not self._hedging.spend():
                return await first
            second = asyncio.create_task(self._attempt(asked.result(), send, timeout_s=timeout_s))
            return await _first_answer(first, second)
        finally:
            if second is None:
                self._slots.withdraw(asked)
            else:
                await _ended(second)

    async def _attempt(self, slot: Slot[C], send: Send[C, A], *, timeout_s: float) -> A:
        started = asyncio.get_running_loop().time()
        try:
            answer = await send(slot.member.client, timeout_s)
        except ClientError as error:
            self._slots.failed(slot, error)
            raise
        # An image that cannot be loaded says nothing of the replica, and neither does a cancelled call.
        except (asyncio.CancelledError, Exception):
            self._slots.dropped(slot)
            raise
        if not self.admit(slot.member, answer.model):
            self._slots.dropped(slot)
            raise _ForeignAnswerError
        latency_s = asyncio.get_running_loop().time() - started
        self._hedging.answered(slot.permit.ticket.shape, latency_s)
        self._slots.answered(slot)
        return answer


class _Trouble:
    """What went wrong with one call so far."""

    def __init__(self, num_answers: int) -> None:
        self._num_internal = 0
        self._num_lost = 0
        self._num_answers = num_answers

    def check(self, error: ClientError, *, num_answers: int) -> None:
        """Raises the error unless the call may be sent again.

        A call under which replicas go away, or whose items they refuse, again and again, while others
        are answered, is itself the cause: that is a fault of the call, not of the service.
        """
        self._num_internal += TABLE[error.code].retry is Retry.TWICE
        if not may_retry(error, num_internal=self._num_internal):
            raise error
        is_lost = isinstance(error, UnavailableError | ItemsRefusedError)
        if is_lost and num_answers > self._num_answers:
            self._num_lost += 1
            self._num_answers = num_answers
        if self._num_lost > MAX_LOST:
            raise ServerFaultError(
                f"a replica went away or refused {self._num_lost} times under this call while others "
                f"were answered; the last: {error.message}"
            ) from error


async def _any_done(
    first: asyncio.Task[A], second: "asyncio.Future[B]", *, timeout_s: float | None
) -> bool:
    done, _ = await asyncio.wait(
        (first, second), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
    )
    return bool(done)


async def _first_answer(first: asyncio.Task[A], second: asyncio.Task[A]) -> A:
    """Returns the answer that comes first; the first call's error where none comes."""
    await _any_done(first, second, timeout_s=None)
    if second.done() and second.exception() is None:
        return second.result()
    if not first.done() or first.exception() is None:
        return await first
    await asyncio.wait((second,))
    return await (second if second.exception() is None else first)


async def _ended(task: asyncio.Task[A]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
