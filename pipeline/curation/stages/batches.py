"""Batches of records for a reward service, and what its answers say of each. Pure.

Records of one image that lie within a look-ahead window share a group, so that the image is sent
and encoded once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from align2llava.clients.wire.schemas import Group, Image, Item, ItemReward, ScoreResponse
from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.rows import ImageRef, LoadedRecord
from align2llava.pipeline.curation.layout import QUESTION_TURN
from align2llava.pipeline.curation.store.rewards import RewardRow

MAX_BATCH_BYTES = 16 * 2**20
MAX_WINDOW_BYTES = 64 * 2**20


class Slot(NamedTuple):
    """Where the reward of an item belongs."""

    turn: int
    candidate: int


class Ask(NamedTuple):
    """The items of one record that have no reward yet."""

    loaded: LoadedRecord
    slots: tuple[Slot, ...]
    items: tuple[Item, ...]
    image: ImageRef


class Answered(NamedTuple):
    """What came of one ask: its rewards, and the fault of the first item that has none."""

    ask: Ask
    rewards: tuple[RewardRow, ...]
    fault: Fault | None


def question_slots(_loaded: LoadedRecord) -> tuple[Slot, ...]:
    """Returns the one slot of a record's question reward."""
    return (Slot(turn=QUESTION_TURN, candidate=0),)


def answer_slots(loaded: LoadedRecord) -> tuple[Slot, ...]:
    """Returns the slots of all turns and candidates of a record."""
    return tuple(
        Slot(turn=turn, candidate=candidate)
        for turn, one in enumerate(loaded.record.turns)
        for candidate in range(len(one.answers))
    )


def item_of(loaded: LoadedRecord, slot: Slot) -> Item:
    """Returns the wire item of a slot."""
    name = f"{loaded.uid}/{slot.turn}/{slot.candidate}"
    if slot.turn == QUESTION_TURN:
        return Item(id=name, questions=loaded.record.questions)
    turn = loaded.record.turns[slot.turn]
    return Item(id=name, question=turn.question, answer=turn.answers[slot.candidate])


class Window:
    """Reorders asks so that those of one image follow each other: a bounded look ahead.

    Holds at most `max_records` asks and about `max_bytes` of their records' bytes. The first ask
    of the source goes out first, and with it all of its image that the window holds.
    """

    def __init__(self, *, max_records: int, max_bytes: int = MAX_WINDOW_BYTES) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._by_image: dict[str, deque[Ask]] = {}  # images in the order they were met
        self._num_records = self._num_bytes = 0
        self.num_groups = 0

    def grouped(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, ...]]:
        """Yields the asks of `asks`, those of one image together."""
        for ask in asks:
            while self._num_records and not self._has_room(ask):
                yield self._oldest()
            self._by_image.setdefault(ask.image.sha256, deque()).append(ask)
            self._num_records += 1
            self._num_bytes += len(ask.loaded.raw)
        while self._by_image:
            yield self._oldest()

    def _has_room(self, ask: Ask) -> bool:
        num_bytes = self._num_bytes + len(ask.loaded.raw)
        return self._num_records < self._max_records and num_bytes <= self._max_bytes

    def _oldest(self) -> tuple[Ask, ...]:
        group = tuple(self._by_image.pop(next(iter(self._by_image))))
        self._num_records -= len(group)
        self._num_bytes -= sum(len(ask.loaded.raw) for ask in group)
        self.num_groups += 1
        return group


def batches(
    asks: Iterable[Ask], *, max_items: int, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[tuple[Ask, ...]]:
    """Yields asks in order, in batches of at most `max_items` items and `max_bytes` of images.

    One ask is never split, whatever its size.
    """
    batch: list[Ask] = []
    num_items = num_bytes = 0
    for ask in asks:
        is_new = not batch or batch[-1].image.sha256 != ask.image.sha256
        ask_bytes = ask.image.num_bytes if is_new else 0
        is_full = num_items + len(ask.items) > max_items or num_bytes + ask_bytes > max_bytes
        if batch and is_full:
            yield tuple(batch)
            batch, num_items, num_bytes, ask_bytes = [], 0, 0, ask.image.num_bytes
        batch.append(ask)
        num_items += len(ask.items)
        num_bytes += ask_bytes
    if batch:
        yield tuple(batch)


def groups_of(asks: Iterable[Ask]) -> tuple[Group, ...]:
    """Returns the wire groups of asks, images by hash alone; neighbours of one image share one."""
    return tuple(
        Group(
            image=Image(sha256=sha256), items=tuple(item for ask in of_image for item in ask.items)
        )
        for sha256, of_image in groupby(asks, key=lambda ask: ask.image.sha256)
    )


def answers_of(asks: tuple[Ask, ...], response: ScoreResponse) -> tuple[Answered, ...]:
    """Returns what a response says of each ask.

    Raises:
        ValueError: the response has other items than were asked for.
    """
    outcomes = [
        (item, group.usage.device_ms / len(group.items))
        for group in response.groups
        for item in group.items
    ]
    wanted = [item.id for ask in asks for item in ask.items]
    if wanted != [item.id for item, _ in outcomes]:
        raise ValueError(f"asked for {len(wanted)} items; the answer has {len(outcomes)} or others")
    one_by_one = iter(outcomes)
    identity = response.model.identity
    return tuple(_answered(ask, [next(one_by_one) for _ in ask.items], identity) for ask in asks)


def rest_of(answered: Answered) -> Ask:
    """Returns the items of an ask that have no reward."""
    ask = answered.ask
    done = {(row.turn, row.candidate) for row in answered.rewards}
    rest = [pair for pair in zip(ask.slots, ask.items, strict=True) if pair[0] not in done]
    slots, items = zip(*rest, strict=True)
    return ask._replace(slots=slots, items=items)


def _answered(ask: Ask, outcomes: list[tuple[ItemReward, float]], identity: str) -> Answered:
    rewards: list[RewardRow] = []
    faults: list[Fault] = []
    for slot, (outcome, device_ms) in zip(ask.slots, outcomes, strict=True):
        if outcome.reward is not None:
            row = RewardRow(
                uid=ask.loaded.uid,
                turn=slot.turn,
                candidate=slot.candidate,
                reward=outcome.reward,
                identity=identity,
                num_tokens=outcome.num_tokens,
                truncated=outcome.truncated,
                device_ms=device_ms,
            )
            rewards.append(row)
        elif outcome.error is not None:
            faults.append(Fault(code=outcome.error.code, message=outcome.error.message))
    return Answered(ask=ask, rewards=tuple(rewards), fault=faults[0] if faults else None)


Slots = Callable[[LoadedRecord], tuple[Slot, ...]]
