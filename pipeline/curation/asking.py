"""Batches of records for a reward service, and what its answers say of each. Pure.

Adjacent records of one image share a group, so that the image is sent and encoded once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from clients.wire.schemas import Group, Image, Item, ItemReward, ScoreResponse
from pipeline.curation.layout import QUESTION_TURN
from pipeline.curation.records import Fault
from pipeline.curation.rows import Loaded
from pipeline.curation.store import RewardRow

MAX_BATCH_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where the reward of an item belongs."""

    turn: int
    candidate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The items of one record that have no reward yet."""

    loaded: Loaded
    slots: tuple[Slot, ...]
    items: tuple[Item, ...]
    image: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of one ask: its rewards, and the fault of the first item that has none."""

    ask: Ask
    rewards: tuple[RewardRow, ...]
    fault: Fault | None


def question_slots(_loaded: Loaded) -> tuple[Slot, ...]:
    """Returns the one slot of a record's question reward."""
    return (Slot(turn=QUESTION_TURN, candidate=0),)


def answer_slots(loaded: Loaded) -> tuple[Slot, ...]:
    """Returns the slots of all turns and candidates of a record."""
    return tuple(
        Slot(turn=turn, candidate=candidate)
        for turn, one in enumerate(loaded.record.turns)
        for candidate in range(len(one.answers))
    )


def item_of(loaded: Loaded, slot: Slot) -> Item:
    """Returns the wire item of a slot."""
    name = f"{loaded.uid}/{slot.turn}/{slot.candidate}"
    if slot.turn == QUESTION_TURN:
        return Item(id=name, questions=loaded.record.questions)
    turn = loaded.record.turns[slot.turn]
    return Item(id=name, question=turn.question, answer=turn.answers[slot.candidate])


def batches(
    asks: Iterable[Ask], *, max_items: int, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[tuple[Ask, ...]]:
    """Yields asks in order, in batches of at most `max_items` items and `max_bytes` of images.

    One ask is never split, whatever its size.
    """
    batch: list[Ask] = []
    num_items = num_bytes = 0
    for ask in asks:
        ask_bytes = 0 if batch and batch[-1].image.sha256 == ask.image.sha256 else _num_bytes(ask)
        is_full = num_items + len(ask.items) > max_items or num_bytes + ask_bytes > max_bytes
        if batch and is_full:
            yield tuple(batch)
            batch, num_items, num_bytes, ask_bytes = [], 0, 0, _num_bytes(ask)
        batch.append(ask)
        num_items += len(ask.items)
        num_bytes += ask_bytes
    if batch:
        yield tuple(batch)


def groups_of(asks: Iterable[Ask]) -> tuple[Group, ...]:
    """Returns the wire groups of asks; neighbours of one image share one."""
    groups: list[Group] = []
    for ask in asks:
        last = groups[-1].image if groups else None
        if last is not None and last.sha256 == ask.image.sha256:
            groups[-1] = Group(image=last, items=(*groups[-1].items, *ask.items))
        else:
            groups.append(Group(image=ask.image, items=ask.items))
    return tuple(groups)


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


def _num_bytes(ask: Ask) -> int:
    return len(ask.image.data or b"")


Slots = Callable[[Loaded], tuple[Slot, ...]]
