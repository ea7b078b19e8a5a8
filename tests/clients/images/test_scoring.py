"""Images go once, what the service lost is sent again, and an answer must be of the request."""

import asyncio
import threading

import pytest

from align2llava.clients.errors import BadAnswerError, ImageNeededError, UnavailableError
from align2llava.clients.images.known import KnownImages
from align2llava.clients.images.scoring import score_groups
from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.schemas import (
    ErrorBody,
    Group,
    GroupRewards,
    Image,
    Item,
    ItemReward,
    ModelIdentity,
    ScoreResponse,
    Usage,
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
                GroupRewards(
                    items=tuple(self.item(g, item) for item in g.items),
                    usage=Usage(suffix_tokens=len(g.items), device_ms=0.5),
                )
                for g in groups
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
    await score_groups(service, [group("a")], known=known)

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
    assert response.groups[0].usage == Usage(suffix_tokens=3 + 2 + 2, device_ms=1.5)


@pytest.mark.parametrize(
    "answered",
    [(), (GroupRewards(items=()),), (GroupRewards(items=(ItemReward(id="9", reward=1),)),)],
)
async def test_answer_to_another_request_is_refused(answered: tuple[GroupRewards, ...]):
    async def send(groups: tuple[Group, ...]) -> ScoreResponse:
        return ScoreResponse(model=MODEL, groups=answered)

    with pytest.raises(BadAnswerError, match="asked for 1 items in 1 groups"):
        await score_groups(send, [group("a")], known=KnownImages())


def by_hash(name: str, *ids: str) -> Group:
    return group(name, *ids).model_copy(update={"image": Image(sha256=name * 64)})


class Files:
    """Images on disk by hash; remembers which were read, and from which thread."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, sha256: str) -> bytes:
        self.read.append(sha256[0])
        self.threads.add(threading.get_ident())
        return sha256[0].encode()


async def test_only_images_the_service_lacks_are_loaded_and_in_a_thread():
    service, files, known = Service(), Files(), KnownImages()
    service.held.add("a" * 64)
    asked = [by_hash("a", "1"), by_hash("b", "2"), group("c", "3")]
    response = await score_groups(service, asked, known=known, load=files)
    assert rewards(response) == [[1], [2], [3]]
    assert files.read == ["b"]
    assert threading.get_ident() not in files.threads
    await score_groups(service, asked, known=known, load=files)
    assert files.read == ["b"]


async def test_cold_service_is_sent_data_at_once_but_for_a_few_guesses():
    service, files, known = Service(), Files(), KnownImages()
    for number in range(300):
        name = f"{number:064x}"
        asked = Group(image=Image(sha256=name), items=(Item(id="1", questions=("q",)),))
        assert rewards(await score_groups(service, [asked], known=known, load=files)) == [[1]]
    assert len(files.read) == 300
    assert 300 < len(service.sent) <= 310


async def test_what_loading_raises_comes_out_unchanged():
    def gone(_sha256: str) -> bytes:
        raise FileNotFoundError("a.jpg")

    with pytest.raises(FileNotFoundError, match=r"a\.jpg"):
        await score_groups(Service(), [by_hash("a")], known=KnownImages(), load=gone)


async def test_image_by_hash_that_nobody_can_load_is_not_asked_for_again():
    service = Service()
    response = await score_groups(service, [by_hash("a")], known=KnownImages())
    assert [item.error and item.error.code for item in response.groups[0].items] == ["image_needed"]
    assert len(service.sent) == 1


async def test_image_new_to_many_calls_at_once_goes_once():
    service, files, known = Service(), Files(), KnownImages()

    async def slowly(groups: tuple[Group, ...]) -> ScoreResponse:
        await asyncio.sleep(0.005)
        return await service(groups)

    calls = [score_groups(slowly, [group("a", str(i))], known=known, load=files) for i in range(10)]
    responses = await asyncio.gather(*calls)
    assert [rewards(response) for response in responses] == [[[i]] for i in range(10)]
    assert [data for sent in service.sent for data in sent if data] == [b"a"]


async def test_call_does_not_wait_for_the_rewards_of_another():
    service, known = Service(), KnownImages()
    is_done = asyncio.Event()

    async def keeps_at_once(groups: tuple[Group, ...]) -> ScoreResponse:
        response = await service(groups)
        if groups[0].items[0].id == "1":
            await is_done.wait()
        return response

    first = asyncio.create_task(score_groups(keeps_at_once, [group("a", "1")], known=known))
    await asyncio.sleep(0)
    second = await score_groups(keeps_at_once, [group("a", "2")], known=known)
    assert rewards(second) == [[2]]
    is_done.set()
    await first
    assert service.sent == [[b"a"], [None]]


async def test_call_that_fails_leaves_the_image_to_the_next():
    service, known = Service(), KnownImages()
    is_down = True

    async def send(groups: tuple[Group, ...]) -> ScoreResponse:
        await asyncio.sleep(0.001)
        if is_down:
            raise UnavailableError("gone")
        return await service(groups)

    first = asyncio.create_task(score_groups(send, [group("a", "1")], known=known))
    second = asyncio.create_task(score_groups(send, [group("a", "2")], known=known))
    with pytest.raises(UnavailableError):
        await first
    is_down = False
    assert rewards(await second) == [[2]]


async def test_name_of_many_servers_is_soon_sent_few_calls_twice():
    """Each call reaches the next server, the second one of a call too."""
    servers, known = [Service() for _ in range(3)], KnownImages()
    num_sent = 0

    async def next_server(groups: tuple[Group, ...]) -> ScoreResponse:
        nonlocal num_sent
        num_sent += 1
        return await servers[num_sent % 3](groups)

    for _ in range(300):
        assert rewards(await score_groups(next_server, [group("a")], known=known)) == [[0]]
    assert num_sent <= 305


@pytest.mark.parametrize("code", [Code.IMAGE_NEEDED, Code.INTERNAL])
async def test_rest_of_an_answer_from_another_model_is_never_put_in(code: Code):
    service, known = Service(), KnownImages()
    await score_groups(service, [group("a")], known=known)
    if code is Code.IMAGE_NEEDED:
        service.held.clear()
    else:
        service.faults["0"] = 1

    async def swapped(groups: tuple[Group, ...]) -> ScoreResponse:
        response = await service(groups)
        if len(service.sent) == 2:
            return response
        return response.model_copy(update={"model": MODEL.model_copy(update={"identity": "j"})})

    with pytest.raises(BadAnswerError, match="two models: i, then j"):
        await score_groups(swapped, [group("a")], known=known)


async def test_call_that_fails_after_an_answer_says_what_came():
    service, known = Service(), KnownImages()
    await score_groups(service, [group("a")], known=known)

    error = UnavailableError("gone", retry_after_s=2)

    async def breaks(groups: tuple[Group, ...]) -> ScoreResponse:
        if len(service.sent) == 2:
            raise error
        return await service(groups)

    asked = [by_hash("b", "1"), group("a", "2", "3")]
    with pytest.raises(UnavailableError) as caught:
        await score_groups(breaks, asked, known=known, load=Files())
    assert caught.value.partial is not None
    assert rewards(caught.value.partial) == [[None], [2, 3]]
    assert (caught.value.message, caught.value.retry_after_s) == ("gone", 2)
    assert error.partial is None  # other calls raise it too
