"""Scoring with images sent once: what both reward clients do above their transport.

Groups go out with the image's hash alone where the service is thought to hold it; groups it
does not hold are sent again with data, items that failed inside the service are asked again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from collections.abc import Set as AbstractSet

from align2llava.clients.api import LoadImage
from align2llava.clients.errors import BadAnswerError, ClientError, ImageNeededError
from align2llava.clients.images.answers import merged, part_of
from align2llava.clients.images.known import KnownImages
from align2llava.clients.retry import MAX_INTERNAL_RETRIES
from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.schemas import Group, Image, ItemReward, ScoreResponse

Send = Callable[[tuple[Group, ...]], Awaitable[ScoreResponse]]


async def score_groups(
    send: Send, groups: Sequence[Group], *, known: KnownImages, load: LoadImage | None = None
) -> ScoreResponse:
    """Returns the outcome of every item, in order, sending each image's data at most once more.

    Images without data come from `load`, off the event loop, once the service turns out to lack them.

    Raises:
        ClientError: what `send` raises; with what was answered before as its `partial`.
        BadAnswerError: the answer has not these groups or items, or is of two models.
    """
    return await _Call(send, tuple(groups), known=known, load=load).answer()


class _Call:
    """One call: its groups, and the data of their images as far as it was needed."""

    def __init__(
        self, send: Send, groups: tuple[Group, ...], *, known: KnownImages, load: LoadImage | None
    ) -> None:
        self._send = send
        self._groups = groups
        self._known = known
        self._load = load
        images = [group.image for group in groups if group.image is not None]
        self._hashes = frozenset(image.sha256 for image in images)
        self._data = {image.sha256: image.data for image in images if image.data is not None}

    async def answer(self) -> ScoreResponse:
        response = await self._first(await self._known.missing(self._to_be_had()))
        if not any(item.error for group in response.groups for item in group.items):
            return response
        whole = response
        try:
            for code, num_times in ((Code.IMAGE_NEEDED, 1), (Code.INTERNAL, MAX_INTERNAL_RETRIES)):
                for _ in range(num_times):
                    whole = await self._asked_again(whole, code=code)
        except ClientError as error:
            raise error.with_partial(whole) from error
        return whole

    async def _first(self, missing: AbstractSet[str]) -> ScoreResponse:
        unsent = missing - self._data.keys()
        guessed = unsent if unsent and self._known.guessing.guess() else frozenset[str]()
        try:
            response = await self._ask(self._groups, with_data=missing - guessed)
            self._judge(guessed, needed=_needed(self._groups, response))
        except ImageNeededError:
            self._judge(guessed, needed=guessed)
            for sha256 in self._hashes - missing:
                self._known.lost(sha256)
            response = await self._ask(self._groups, with_data=self._to_be_had())
        finally:
            if guessed:
                self._known.guessing.withdraw()
        return response

    def _judge(self, guessed: AbstractSet[str], *, needed: AbstractSet[str]) -> None:
        if guessed:
            self._known.guessing.judge(is_right=2 * len(guessed & needed) <= len(guessed))

    async def _ask(self, groups: tuple[Group, ...], *, with_data: Collection[str]) -> ScoreResponse:
        with self._known.sending(with_data):
            await self._fetch(with_data)
            response = await self._send(tuple(self._dressed(g, with_data) for g in groups))
            _check(groups, response)
            for group, answer in zip(groups, response.groups, strict=True):
                self._known.learn(group, answer)
        return response

    async def _asked_again(self, whole: ScoreResponse, *, code: Code) -> ScoreResponse:
        """Asks the same model again, with data, for the items that failed with `code`; returns all outcomes."""
        part = part_of(
            self._groups,
            whole.groups,
            lambda group, item: (
                _failed_with(item, code)
                and (code is not Code.IMAGE_NEEDED or self._has_data(group))
            ),
        )
        if not part.groups:
            return whole
        hashes = {group.image.sha256 for group in part.groups if group.image is not None}
        response = await self._ask(part.groups, with_data=hashes & self._to_be_had())
        if response.model.identity != whole.model.identity:
            raise BadAnswerError(
                f"one call was answered by two models: {whole.model.identity}, "
                f"then {response.model.identity}"
            )
        groups = merged(whole.groups, part, response.groups)
        return ScoreResponse(model=whole.model, groups=groups)

    def _to_be_had(self) -> AbstractSet[str]:
        """Returns the images whose data is here or can be loaded."""
        return self._hashes if self._load is not None else self._data.keys()

    def _has_data(self, group: Group) -> bool:
        return group.image is not None and group.image.sha256 in self._to_be_had()

    async def _fetch(self, hashes: Collection[str]) -> None:
        absent = [sha256 for sha256 in hashes if sha256 not in self._data]
        if absent and self._load is not None:
            self._data |= await asyncio.to_thread(_loaded, self._load, absent)

    def _dressed(self, group: Group, with_data: Collection[str]) -> Group:
        """Returns the group with its image's data where it is to have it, else with the hash alone."""
        if group.image is None:
            return group
        sha256 = group.image.sha256
        data = self._data[sha256] if sha256 in with_data else None
        if group.image.data is data:
            return group
        return Group(image=Image(sha256=sha256, data=data), items=group.items)


def _loaded(load: LoadImage, hashes: Sequence[str]) -> dict[str, bytes]:
    return {sha256: load(sha256) for sha256 in hashes}


def _check(groups: Sequence[Group], response: ScoreResponse) -> None:
    asked = [[item.id for item in group.items] for group in groups]
    answered = [[item.id for item in group.items] for group in response.groups]
    if asked != answered:
        raise BadAnswerError(
            f"asked for {sum(map(len, asked))} items in {len(asked)} groups; "
            f"the answer has {sum(map(len, answered))} in {len(answered)}, or other ids"
        )


def _needed(groups: Sequence[Group], response: ScoreResponse) -> AbstractSet[str]:
    return {
        group.image.sha256
        for group, answer in zip(groups, response.groups, strict=True)
        if group.image is not None
        and any(_failed_with(item, Code.IMAGE_NEEDED) for item in answer.items)
    }


def _failed_with(item: ItemReward, code: Code) -> bool:
    return item.error is not None and item.error.code == code
