"""A reward client whose answers to canaries differ from what it said before, by script."""

from collections.abc import Sequence

from align2llava.clients.api import LoadImage, RewardClient
from align2llava.clients.errors import ClientError
from align2llava.clients.wire.schemas import (
    ErrorBody,
    Group,
    GroupRewards,
    Item,
    ItemReward,
    ModelIdentity,
    ScoreResponse,
)
from tests.pipeline.curation.fake_clients import identity, reward_of


class WaveringClient(RewardClient):
    """`moves` is added to the rewards of canaries, over and over; None fails the item instead."""

    def __init__(
        self,
        *,
        moves: tuple[float | None, ...] = (0.0,),
        canary_error: ClientError | None = None,
    ) -> None:
        self.moves = moves
        self._canary_error = canary_error
        self.canary_ids: list[str] = []
        self.loaded: list[bytes] = []

    @property
    def num_canaries_asked(self) -> int:
        return len(self.canary_ids)

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        is_canary = groups[0].items[0].id.startswith("canary/")
        if is_canary and self._canary_error is not None:
            raise self._canary_error
        if is_canary and load is not None:
            self.loaded += [load(group.image.sha256) for group in groups if group.image]
        answers = tuple(
            GroupRewards(items=tuple(self._outcome(group, item) for item in group.items))
            for group in groups
        )
        return ScoreResponse(model=identity("question-reward"), groups=answers)

    def _outcome(self, group: Group, item: Item) -> ItemReward:
        assert group.image is not None
        move: float | None = 0.0
        if item.id.startswith("canary/"):
            move = self.moves[len(self.canary_ids) % len(self.moves)]
            self.canary_ids.append(item.id)
        if move is None or "[[item" in item.questions[0]:
            return ItemReward(id=item.id, error=ErrorBody(code="internal", message="as asked"))
        return ItemReward(id=item.id, reward=reward_of(group.image.sha256, item) + move)

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        return identity("question-reward")

    async def aclose(self) -> None:
        return
