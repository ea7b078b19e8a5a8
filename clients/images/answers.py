"""Which items of a call have no outcome yet, and outcomes put together from several answers. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from align2llava.clients.errors import ItemsRefusedError
from align2llava.clients.wire.codes import BY_NAME, TABLE, Retry
from align2llava.clients.wire.schemas import ErrorBody, Group, GroupRewards, ItemReward, Usage

_FOR_NOW = frozenset(code for code, row in TABLE.items() if row.retry in (Retry.SLOWER, Retry.YES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some items of some groups: the groups to ask for, and where their outcomes belong."""

    groups: tuple[Group, ...]
    places: tuple[tuple[int, tuple[int, ...]], ...]  # position of a group, indices of its items


def everything(groups: Sequence[Group]) -> Part:
    """Returns all items of the groups."""
    return Part(
        groups=tuple(groups),
        places=tuple((position, tuple(range(len(g.items)))) for position, g in enumerate(groups)),
    )


def part_of(
    groups: Sequence[Group],
    answers: Sequence[GroupRewards],
    is_wanted: Callable[[Group, ItemReward], bool],
) -> Part:
    """Returns the items whose outcome is to be asked for again."""
    places = tuple(
        (position, indices)
        for position, (group, answer) in enumerate(zip(groups, answers, strict=True))
        if (indices := tuple(i for i, item in enumerate(answer.items) if is_wanted(group, item)))
    )
    return Part(
        groups=tuple(_chosen(groups[position], indices) for position, indices in places),
        places=places,
    )


def merged(
    answers: Sequence[GroupRewards], part: Part, answered: Sequence[GroupRewards]
) -> tuple[GroupRewards, ...]:
    """Returns `answers` with what a part was answered; a reward stays where the part has none."""
    whole = list(answers)
    for (position, indices), answer in zip(part.places, answered, strict=True):
        items = list(whole[position].items)
        for i, item in zip(indices, answer.items, strict=True):
            if item.reward is not None or items[i].reward is None:
                items[i] = item
        usage = _sum(whole[position].usage, answer.usage)
        whole[position] = GroupRewards(items=tuple(items), usage=usage)
    return tuple(whole)


def has_no_reward(_group: Group, item: ItemReward) -> bool:
    """Returns whether an item is to be asked for again after a call that failed."""
    return item.reward is None


def refused(errors: Iterable[ErrorBody | None]) -> ItemsRefusedError | None:
    """Returns the error of a call whose items have these errors, None where none is refused for now only."""
    found = [one for one in errors if one is not None and BY_NAME.get(one.code) in _FOR_NOW]
    if not found:
        return None
    return ItemsRefusedError(
        f"{len(found)} items were refused; the first: {found[0].code}: {found[0].message}",
        retry_after_s=max(one.retry_after_ms for one in found) / 1000,
    )


def _chosen(group: Group, indices: Sequence[int]) -> Group:
    return Group(image=group.image, items=tuple(group.items[i] for i in indices))


def _sum(first: Usage, second: Usage) -> Usage:
    return Usage(
        prefix_tokens=first.prefix_tokens + second.prefix_tokens,
        suffix_tokens=first.suffix_tokens + second.suffix_tokens,
        device_ms=first.device_ms + second.device_ms,
    )
