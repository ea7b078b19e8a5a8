"""Images go once, what the service lost is sent again, and an answer must be of the request."""

import pytest

from clients.errors import BadAnswerError, ImageNeededError
from clients.scoring import KnownImages, score_groups
from clients.wire.codes import Code
from clients.wire.schemas import (
    ErrorBody,
    Group,
    GroupRewards,
    Image,
    Item,
    ItemReward,
    ModelIdentity,
    ScoreResponse,
)

MODEL = ModelIdentity(name="m", kind="k", identity="i", weights_sha256="w", dtype="float32")


def group(name: str, *ids: str) -> Group:
    return Group(
        image=Image(sha256=name * 64, data=name.encode()),
        items=tuple(Item(id=i, questions=("q",)) for i in ids or ("0",)),
    )


class Service:
    """Holds images by hash, fails items named in `faults` that often, and counts the bytes sent."""

    def __init__(self, faults: dict[str, int] | None = None) -> None:
        self.held: set[str] = set()
        self.faults = faults or {}
        self.sent: list[list[bytes | None]] = []

    def item(self, asked: Group, item: Item) -> ItemReward:
        assert asked.image is not None
        if asked.image.sha256 not in self.held:
            return failed(item, Code.IMAGE_NEEDED)
        if self.faults.get(item.id, 0) > 0:
            self.faults[item.id] -= 1
            return failed(item, Code.INTERNAL)
        return ItemReward(id=item.id, reward=float(item.id))

    async def __call__(self, groups: tuple[Group, ...]) -> ScoreResponse:
        self.sent.append([g.image and g.image.data for g in groups])
        self.held |= {g.image.sha256 for g in groups if g.image and g.image.data}
        return ScoreResponse(
            model=MODEL,
            groups=tuple(
                GroupRewards(items=tuple(self.item(g, item) for item in g.items)) for g in groups
            ),
        )


def failed(item: Item, code: Code) -> ItemReward:
    return ItemReward(id=item.id, error=ErrorBody(code=code, message="x"))


def rewards(response: ScoreResponse) -> list[list[float | None]]:
    return [[item.reward for item in g.items] for g in response.groups]


async def test_known_image_goes_by_hash_alone():
    service, known = Service(), KnownImages()
    await score_groups(service, [group("a")], known=known)
    await score_groups(service, [group("a"), group("b")], known=known)
    assert service.sent == [[b"a"], [None, b"b"]]


async def test_forgotten_image_is_sent_once_more():
    service, known = Service(), KnownImages()
    await score_groups(service, [group("a")], known=known)
    service.held.clear()
    response = await score_groups(service, [group("b", "1"), group("a", "2", "3")], known=known)
    assert rewards(response) == [[1], [2, 3]]
    assert service.sent[1:] == [[b"b", None], [b"a"]]


async def test_refusal_of_the_whole_request_sends_all_data():
    service, known = Service(), KnownImages()
    known.add("a" * 64)

    async def send(groups: tuple[Group, ...]) -> ScoreResponse:
        if any(g.image and g.image.data is None for g in groups):
            raise ImageNeededError("which one")
        return await service(groups)

    assert rewards(await score_groups(send, [group("a")], known=known)) == [[0]]


async def test_failed_item_is_asked_again_alone_and_at_most_twice():
    service = Service({"1": 2, "2": 3})
    response = await score_groups(service, [group("a", "0", "1", "2")], known=KnownImages())
    assert rewards(response) == [[0, 1, None]]
    assert len(service.sent) == 3


@pytest.mark.parametrize(
    "answered",
    [(), (GroupRewards(items=()),), (GroupRewards(items=(ItemReward(id="9", reward=1),)),)],
)
async def test_answer_to_another_request_is_refused(answered: tuple[GroupRewards, ...]):
    async def send(groups: tuple[Group, ...]) -> ScoreResponse:
        return ScoreResponse(model=MODEL, groups=answered)

    with pytest.raises(BadAnswerError, match="asked for 1 items in 1 groups"):
        await score_groups(send, [group("a")], known=KnownImages())


def test_known_images_are_bounded():
    known = KnownImages(capacity=2)
    for name in "abc":
        known.add(name * 64)
    assert known.stripped(group("a")) == group("a")
    assert known.stripped(group("c")) != group("c")
