"""The slots at the replicas of a pool: who gets one, who waits for one, and when waiting is of no use.

Waiting is no failure and has no time limit of its own. It ends where nothing was answered for as long
as a call may take while replicas failed or refused, or where no replica is left.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from align2llava.clients.errors import ClientError, OtherModelError, UnavailableError
from align2llava.clients.pool.limit import Shape
from align2llava.clients.pool.replica import Permit, Replica, least_loaded
from align2llava.clients.wire.codes import Code

_TROUBLE = frozenset({Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED, Code.OVERLOADED})
MIN_PAUSE_S = 0.001
C = TypeVar("C")


class Member(Replica, Generic[C]):
    """A replica and the client that reaches it; the client makes one attempt and does not retry."""

    def __init__(self, url: str, client: C, *, max_in_flight: int) -> None:
        super().__init__(url, max_in_flight=max_in_flight)
        self.client = client
        self.is_many = url.startswith("dns:")  # gRPC sends each call to the next server of the name


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot(Generic[C]):
    """A slot taken for one attempt; it is given back by what became of the attempt."""

    member: Member[C]
    permit: Permit


@dataclass(frozen=True, slots=True)
class _Waiter(Generic[C]):
    future: "asyncio.Future[Slot[C]]"
    shape: Shape
    timeout_s: float
    avoid: Member[C] | None  # the last that failed this call; taken only where there is no other


class Slots(Generic[C]):
    """Hands out slots in the order they were asked for."""

    def __init__(self, members: Sequence[Member[C]]) -> None:
        self.num_answers = 0
        self._members = tuple(members)
        self._waiting: deque[_Waiter[C]] = deque()
        self._idle_wanted: deque[_Waiter[C]] = deque()
        self._failing_since = math.inf
        self._last_error: ClientError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ask(
        self, shape: Shape, *, timeout_s: float, avoid: Member[C] | None
    ) -> "asyncio.Future[Slot[C]]":
        """Returns a slot to come; withdraw it, once asked for, where it is not used.

        UnavailableError comes instead where nothing was answered for `timeout_s` while replicas failed
        or refused, OtherModelError where every replica was put out of the pool.
        """
        return self._ask(self._waiting, _Waiter(_future(), shape, timeout_s, avoid))

    def ask_idle(self, shape: Shape, *, avoid: Member[C]) -> "asyncio.Future[Slot[C]]":
        """Returns a slot to come at another server, once there is one that no call waits for."""
        return self._ask(self._idle_wanted, _Waiter(_future(), shape, math.inf, avoid))

    def withdraw(self, future: "asyncio.Future[Slot[C]]") -> None:
        """Takes back what was asked for."""
        for queue in (self._waiting, self._idle_wanted):
            for waiter in [one for one in queue if one.future is future]:
                queue.remove(waiter)
        if future.done() and not future.cancelled() and future.exception() is None:
            self.dropped(future.result())

    def answered(self, slot: Slot[C]) -> None:
        """Gives a slot back after an answer."""
        slot.member.answered(slot.permit, _now())
        self._works()
        self._hand_out()

    def failed(self, slot: Slot[C], error: ClientError) -> None:
        """Gives a slot back after an error."""
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        slot.member.failed(slot.permit, error, _now(), jitter=jitter)
        if error.code in _TROUBLE:
            self._failing_since = min(self._failing_since, _now())
            self._last_error = error
        else:
            self._works()
        self._hand_out()

    def dropped(self, slot: Slot[C]) -> None:
        """Gives a slot back after an attempt that was cancelled."""
        slot.member.dropped(slot.permit)
        self._hand_out()

    def close(self) -> None:
        """Ends the timer; nobody may wait any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _works(self) -> None:
        self.num_answers += 1
        self._failing_since = math.inf

    def _ask(self, queue: deque[_Waiter[C]], waiter: _Waiter[C]) -> "asyncio.Future[Slot[C]]":
        queue.append(waiter)
        self._hand_out()
        return waiter.future

    def _hand_out(self) -> None:
        now = _now()
        while self._waiting and self._serve(self._waiting[0], now):
            self._waiting.popleft()
        if not self._waiting:
            for waiter in tuple(self._idle_wanted):
                members = [m for m in self._members if m is not waiter.avoid or m.is_many]
                if self._give(waiter, least_loaded(members, now), now):
                    self._idle_wanted.remove(waiter)
        self._end_hopeless(now)
        self._set_timer(now)

    def _serve(self, waiter: _Waiter[C], now: float) -> bool:
        others = [one for one in self._members if one is not waiter.avoid]
        member = least_loaded(others, now) or least_loaded(self._members, now)
        return self._give(waiter, member, now)

    def _give(self, waiter: _Waiter[C], member: Member[C] | None, now: float) -> bool:
        if member is None:
            return False
        if waiter.future.done():  # cancelled, and not withdrawn yet
            return True
        permit = member.take(waiter.shape, now)
        waiter.future.set_result(Slot(member=member, permit=permit))
        return True

    def _end_hopeless(self, now: float) -> None:
        nobody_left = all(member.is_expelled for member in self._members)
        if not nobody_left and self._failing_since == math.inf:
            return
        for waiter in tuple(self._waiting):
            if nobody_left:
                error = OtherModelError("every replica answered as another model")
            elif now - self._failing_since >= waiter.timeout_s:
                error = self._no_answer(waiter.timeout_s)
            else:
                continue
            self._waiting.remove(waiter)
            waiter.future.set_exception(error)

    def _no_answer(self, timeout_s: float) -> UnavailableError:
        last = self._last_error
        why = "" if last is None else f"; the last error: {last.code}: {last.message}"
        return UnavailableError(f"nothing was answered for {timeout_s:g} s{why}")

    def _set_timer(self, now: float) -> None:
        self.close()
        hopeless = (self._failing_since + waiter.timeout_s for waiter in self._waiting)
        opens = (member.opens_at() for member in self._members)
        is_wanted = bool(self._waiting or self._idle_wanted)
        when = min((*hopeless, *opens), default=math.inf) if is_wanted else math.inf
        if when < math.inf:
            # Never at once: a clock that has not moved yet would call again and again.
            self._timer = asyncio.get_running_loop().call_at(
                max(when, now + MIN_PAUSE_S), self._hand_out
            )


def _future() -> "asyncio.Future[Slot[C]]":
    return asyncio.get_running_loop().create_future()


def _now() -> float:
    return asyncio.get_running_loop().time()
