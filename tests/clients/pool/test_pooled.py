"""A pooled call for rewards asks no replica for what one has answered."""

from collections.abc import Sequence

import pytest

from align2llava.clients.api import Client, LoadImage, RewardClient
from align2llava.clients.errors import (
    BadAnswerError,
    ClientError,
    InvalidRequestError,
    UnavailableError,
)
from align2llava.clients.pool.pool import Pool
from align2llava.clients.pool.pooled import PooledRewardClient
from align2llava.clients.pool.slots import Member
from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.schemas import (
    ErrorBody,
    Group,
    GroupRewards,
    Item,
    ItemReward,
    ModelIdentity,
    ScoreResponse,
)

GROUPS = (
    Group(items=tuple(Item(id=i, questions=("q",)) for i in "012")),
    Group(items=(Item(id="3", questions=("q",)),)),
)


def model(identity: str = "i") -> ModelIdentity:
    return ModelIdentity(name="m", kind="k", identity=identity, weights_sha256="w", dtype="float32")


class Scoring(Client):
    """A client of which only `score` is asked."""

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        return model()

    async def aclose(self) -> None:
        return


class Breaking(Scoring):
    """Answers at most `good` items of each call, then fails with the next of `errors`, if any."""

    def __init__(self, errors: list[ClientError], *, good: int, identity: str = "i") -> None:
        self.errors = errors
        self.good = good
        self.identity = identity
        self.asked: list[list[str]] = []

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        self.asked.append([item.id for group in groups for item in group.items])
        left = self.good if self.errors else 99
        rewarded: list[tuple[ItemReward, ...]] = []
        for group in groups:
            rewarded.append(
                tuple(self.outcome(item, at < left) for at, item in enumerate(group.items))
            )
            left -= len(group.items)
        response = ScoreResponse(
            model=model(self.identity),
            groups=tuple(GroupRewards(items=items) for items in rewarded),
        )
        if self.errors:
            error = self.errors.pop(0)
            error.partial = response
            raise error
        return response

    def outcome(self, item: Item, is_good: bool) -> ItemReward:
        if is_good:
            return ItemReward(id=item.id, reward=float(item.id))
        return ItemReward(id=item.id, error=ErrorBody(code=Code.IMAGE_NEEDED, message="x"))


def pooled(*replicas: RewardClient) -> PooledRewardClient:
    members = [Member(str(at), one, max_in_flight=4) for at, one in enumerate(replicas)]
    return PooledRewardClient(Pool(members, model=model(), on_expelled=lambda *_: None))


def rewards(response: ScoreResponse | None) -> list[list[float | None]]:
    assert response is not None
    return [[item.reward for item in group.items] for group in response.groups]


async def test_what_came_before_a_call_failed_is_not_asked_again():
    replica = Breaking([UnavailableError("gone"), UnavailableError("gone")], good=2)
    response = await pooled(replica).score(GROUPS, timeout_s=30)
    assert rewards(response) == [[0, 1, 2], [3]]
    assert replica.asked == [["0", "1", "2", "3"], ["2", "3"]]


async def test_call_that_fails_for_good_says_all_that_came():
    replica = Breaking([UnavailableError("gone"), InvalidRequestError("no")], good=1)
    with pytest.raises(InvalidRequestError) as caught:
        await pooled(replica).score(GROUPS, timeout_s=30)
    assert rewards(caught.value.partial) == [[0, 1, None], [None]]


async def test_nothing_is_believed_of_another_model():
    liar = Breaking([UnavailableError("gone")], good=3, identity="j")
    with pytest.raises(ClientError) as caught:
        await pooled(liar).score(GROUPS, timeout_s=2)
    assert caught.value.partial is None
    assert liar.asked == [["0", "1", "2", "3"], ["0", "1", "2", "3"]]


class Refusing(Scoring):
    """Answers each item with `code` as often as `num_times` says, then with a reward."""

    def __init__(self, code: str, *, num_times: dict[str, int]) -> None:
        self.code = code
        self.left = num_times
        self.asked: list[list[str]] = []

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        self.asked.append([item.id for group in groups for item in group.items])
        answers = [GroupRewards(items=tuple(map(self.outcome, group.items))) for group in groups]
        return ScoreResponse(model=model(), groups=tuple(answers))

    def outcome(self, item: Item) -> ItemReward:
        if self.left.get(item.id, 0) == 0:
            return ItemReward(id=item.id, reward=float(item.id))
        self.left[item.id] -= 1
        error = ErrorBody(code=self.code, message="full", retry_after_ms=1)
        return ItemReward(id=item.id, error=error)


@pytest.mark.parametrize("code", ["overloaded", "unavailable"])
async def test_items_refused_for_now_are_asked_for_again_alone(code: str):
    replica = Refusing(code, num_times={"1": 2, "3": 1})
    response = await pooled(replica).score(GROUPS, timeout_s=30)
    assert rewards(response) == [[0, 1, 2], [3]]
    assert replica.asked == [["0", "1", "2", "3"], ["1", "3"], ["1"]]


async def test_items_refused_for_ever_end_as_a_service_that_does():
    replica = Refusing("overloaded", num_times={"1": 10**9})
    with pytest.raises(UnavailableError, match=r"nothing was answered for 0.5 s.*overloaded: full"):
        await pooled(replica).score(GROUPS, timeout_s=0.5)


async def test_an_image_that_is_needed_again_after_it_was_sent_is_a_bad_answer():
    replica = Refusing("image_needed", num_times={"1": 10**9})
    with pytest.raises(BadAnswerError, match="asked for again") as caught:
        await pooled(replica).score(GROUPS, timeout_s=5, load=lambda _: b"")
    assert rewards(caught.value.partial) == [[0, None, 2], [3]]
    assert len(replica.asked) == 3
