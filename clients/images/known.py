"""Which images a service is thought to hold, which are on their way to it, and what it may hold besides.

A thought can be wrong: the service answers `image_needed`, and the image is sent again. Knows no transport.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.schemas import Group, GroupRewards

ARRIVAL_S = 0.05
MAX_OWED = 16
MAX_SKIPPED = 64


@dataclass(slots=True)
class _Held:
    num_lost: int = 0  # times that we believed the service to hold it, and it did not
    num_owed: int = 0  # further sends that must include the bytes


class Guessing:
    """Whether an image that was never sent should go by its hash first: an earlier run may have sent it.

    After a right guess all are guessed. After a wrong one data goes at once, and a guess is made every
    so many calls; the gap doubles up to `MAX_SKIPPED`. Pure.
    """

    def __init__(self) -> None:
        self._is_right = False
        self._is_out = False  # a guess that nobody has judged yet
        self._gap = 0
        self._num_skipped = 0

    def guess(self) -> bool:
        """Returns whether a call should guess; if so, it must call `judge` or `withdraw` afterwards."""
        if self._is_right:
            return True
        self._num_skipped += 1
        if self._is_out or self._num_skipped <= self._gap:
            return False
        self._is_out = True
        return True

    def judge(self, *, is_right: bool) -> None:
        """Notes whether the service held what was guessed."""
        self._is_out = False
        self._num_skipped = 0
        self._gap = 0 if is_right else min(MAX_SKIPPED, max(1, 2 * self._gap))
        self._is_right = is_right

    def withdraw(self) -> None:
        """Notes that a guess was not answered."""
        self._is_out = False


class KnownImages:
    """The hashes one service is thought to hold, the latest `capacity` of them.

    Behind one name there may be many servers, and a call reaches any of them. An image lost again and
    again goes with its data to more and more calls, so that each server comes to hold it.
    """

    def __init__(self, capacity: int = 16_384) -> None:
        self.guessing = Guessing()
        self._capacity = capacity
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._on_the_way: dict[str, asyncio.Future[None]] = {}

    def holds(self, sha256: str) -> bool:
        """Returns whether the image should go by its hash alone."""
        held = self._held.get(sha256)
        return held is not None and held.num_owed == 0

    def learn(self, group: Group, answer: GroupRewards) -> None:
        """Notes what an answer says about the group's image."""
        if group.image is None:
            return
        if any(item.reward is not None for item in answer.items):
            self._add(group.image.sha256)
        elif any(
            item.error is not None and item.error.code == Code.IMAGE_NEEDED for item in answer.items
        ):
            self.lost(group.image.sha256)

    def lost(self, sha256: str) -> None:
        """Notes that the service asked for an image."""
        held = self._held.get(sha256)
        if held is not None:
            held.num_owed = 1 + min(MAX_OWED, 2**held.num_lost // 2)
            held.num_lost += 1

    async def missing(self, hashes: Collection[str]) -> frozenset[str]:
        """Returns the images that are neither held nor on their way.

        What other calls are sending now gets a moment to arrive: services keep an image as soon as they
        have read it, long before its rewards are there.
        """
        ways = [self._on_the_way[h] for h in hashes if h in self._on_the_way and not self.holds(h)]
        if ways:
            await asyncio.wait(ways, timeout=ARRIVAL_S)
        return frozenset(h for h in hashes if not (self.holds(h) or h in self._on_the_way))

    @contextmanager
    def sending(self, hashes: Collection[str]) -> Generator[None]:
        """Has other calls go without the data of these images."""
        loop = asyncio.get_running_loop()
        ways = {h: loop.create_future() for h in hashes if h not in self._on_the_way}
        self._on_the_way |= ways
        try:
            yield
        finally:
            for sha256, way in ways.items():
                del self._on_the_way[sha256]
                way.set_result(None)

    def _add(self, sha256: str) -> None:
        held = self._held.setdefault(sha256, _Held())
        held.num_owed = max(0, held.num_owed - 1)
        self._held.move_to_end(sha256)
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)
