"""Scoring with images sent once: what both reward clients do above their transport.

Groups go out with the image's hash alone where the service is thought to hold it; groups it
does not hold are sent again with data, items that failed inside the service are asked again.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from clients.errors import BadAnswerError, ImageNeededError
from clients.retry import MAX_INTERNAL_RETRIES
from clients.wire.codes import Code
from clients.wire.schemas import Group, GroupRewards, Image, ItemReward, ScoreResponse

Send = Callable[[tuple[Group, ...]], Awaitable[ScoreResponse]]


class KnownImages:
    """The hashes a service is thought to hold, the latest `capacity` of them."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._hashes: OrderedDict[str, None] = OrderedDict()

    def add(self, sha256: str) -> None:
        """Remembers a hash as the latest."""
        self._hashes[sha256] = None
        self._hashes.move_to_end(sha256)
        if len(self._hashes) > self._capacity:
            self._hashes.popitem(last=False)

    def discard(self, sha256: str) -> None:
        """Forgets a hash."""
        self._hashes.pop(sha256, None)

    def stripped(self, group: Group) -> Group:
        """Returns the group without its image data where the service should know the hash."""
        if group.image is None or group.image.sha256 not in self._hashes:
            return group
        return Group(image=Image(sha256=group.image.sha256), items=group.items)


async def score_groups(send: Send, groups: Sequence[Group], *, known: KnownImages) -> ScoreResponse:
    """Returns the outcome of every item, in order, sending each image's data at most once more.

    Raises:
        BadAnswerError: the answer has not these groups or items.
    """
    try:
        response = await _checked(send, tuple(known.stripped(group) for group in groups))
    except ImageNeededError:
        response = await _checked(send, tuple(groups))
    answers = list(response.groups)
    for code, num_times in ((Code.IMAGE_NEEDED, 1), (Code.INTERNAL, MAX_INTERNAL_RETRIES)):
        for _ in range(num_times):
            await _ask_again(send, groups, answers, code=code)
    for group, answer in zip(groups, answers, strict=True):
        _remember(known, group, answer)
    return ScoreResponse(model=response.model, groups=tuple(answers))


async def _checked(send: Send, groups: tuple[Group, ...]) -> ScoreResponse:
    response = await send(groups)
    asked = [[item.id for item in group.items] for group in groups]
    answered = [[item.id for item in group.items] for group in response.groups]
    if asked != answered:
        raise BadAnswerError(
            f"asked for {sum(map(len, asked))} items in {len(asked)} groups; "
            f"the answer has {sum(map(len, answered))} in {len(answered)}, or other ids"
        )
    return response


def _failed_with(item: ItemReward, code: Code) -> bool:
    return item.error is not None and item.error.code == code


async def _ask_again(
    send: Send, groups: Sequence[Group], answers: list[GroupRewards], *, code: Code
) -> None:
    """Asks again, with data, for the items that failed with `code`; replaces their outcomes."""
    failed = {
        position: [i for i, item in enumerate(answer.items) if _failed_with(item, code)]
        for position, answer in enumerate(answers)
    }
    failed = {position: indices for position, indices in failed.items() if indices}
    if not failed:
        return
    again = tuple(
        Group(image=groups[position].image, items=tuple(groups[position].items[i] for i in indices))
        for position, indices in failed.items()
    )
    response = await _checked(send, again)
    for (position, indices), answer in zip(failed.items(), response.groups, strict=True):
        items = list(answers[position].items)
        for i, item in zip(indices, answer.items, strict=True):
            items[i] = item
        answers[position] = GroupRewards(items=tuple(items), usage=answer.usage)


def _remember(known: KnownImages, group: Group, answer: GroupRewards) -> None:
    if group.image is None:
        return
    if any(item.reward is not None for item in answer.items):
        known.add(group.image.sha256)
    else:
        known.discard(group.image.sha256)
