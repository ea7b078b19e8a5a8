"""Canaries: the first items a reward service answered, asked again during the run.

The differences between the answers are the service's noise: batch mates, replicas and hedged calls may
change the last bits of a sum, and whatever else moves a reward shows here too. A canary that moves
further than noise would stops the run. Every round leaves an event; what follows from the noise is
decided in `fragility`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from align2llava.clients.api import LoadImage, RewardClient
from align2llava.clients.errors import ClientError
from align2llava.clients.wire.schemas import Group, GroupRewards, ModelIdentity, ScoreResponse
from align2llava.pipeline.config.schema import RunConfig
from align2llava.pipeline.curation.store.events import CANARIES_COMPARED, Notify
from align2llava.pipeline.errors import EndpointError

SHARE = 0.01  # of the items asked for, besides one round at the end
PER_CALL = 4  # canaries taken from one call at most, of as many groups as it has
MAX_HELD_BYTES = 2**20  # of an image that has to be held in memory for its canary
MIN_REWARDS = 32  # rewards seen before their spread can judge a canary
LAST_ROUND_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Canary:
    group: Group  # with one item
    load: LoadImage | None
    reward: float


class CanaryClient(RewardClient):
    """A `RewardClient` that remembers its first items and asks for them again in between.

    A round is one call with all canaries, made before the answer of the call that it follows is
    returned; `run.canaries` 0 = no canaries.
    """

    def __init__(
        self, inner: RewardClient, *, service: str, config: RunConfig, notify: Notify
    ) -> None:
        self._inner = inner
        self._service = service
        self._config = config
        self._notify = notify
        self._canaries: list[_Canary] = []
        self._spread = _Spread()
        self._num_since = 0  # items answered since the last round

    async def score(
        self, groups: Sequence[Group], *, timeout_s: float, load: LoadImage | None = None
    ) -> ScoreResponse:
        """See `RewardClient.score`.

        Raises:
            EndpointError: a canary drifted; the answer of this call is not to be trusted either.
        """
        response = await self._inner.score(groups, timeout_s=timeout_s, load=load)
        self._watch(groups, response.groups, load=load)
        if self._canaries and self._num_since * SHARE >= len(self._canaries):
            await self._compare(timeout_s=timeout_s)
        return response

    async def compare_last(self) -> None:
        """Asks for the canaries a last time, where anything was answered since the last round.

        Raises:
            EndpointError: a canary drifted.
        """
        if self._canaries and self._num_since:
            await self._compare(timeout_s=LAST_ROUND_TIMEOUT_S)

    async def model(self, *, timeout_s: float) -> ModelIdentity:
        """See `RewardClient.model`."""
        return await self._inner.model(timeout_s=timeout_s)

    async def aclose(self) -> None:
        """See `RewardClient.aclose`."""
        await self._inner.aclose()

    def _watch(
        self, groups: Sequence[Group], answers: Sequence[GroupRewards], *, load: LoadImage | None
    ) -> None:
        for answer in answers:
            self._num_since += len(answer.items)
            self._spread.add(answer)
        wanted = min(PER_CALL, self._config.canaries - len(self._canaries))
        self._canaries += islice(_fit(groups, answers, load), wanted)

    async def _compare(self, *, timeout_s: float) -> None:
        canaries, self._num_since = tuple(self._canaries), 0
        try:
            response = await self._inner.score(
                [one.group for one in canaries], timeout_s=timeout_s, load=_load_any(canaries)
            )
        except ClientError as error:
            # Whether the service can still be used is for the run's own calls to say.
            self._notify(
                "canaries_failed",
                service=self._service,
                code=str(error.code),
                message=error.message,
            )
            return
        moved = [
            (one, answer.items[0].reward)
            for one, answer in zip(canaries, response.groups, strict=True)
        ]
        compared = [(one, again) for one, again in moved if again is not None]
        self._tell([again - one.reward for one, again in compared], response.model.identity)
        for one, again in compared:
            self._check(one, again)

    def _tell(self, differences: Sequence[float], identity: str) -> None:
        num_compared = len(differences)
        squares = math.fsum(one * one for one in differences)
        self._notify(
            CANARIES_COMPARED,
            service=self._service,
            identity=identity,
            num_canaries=len(self._canaries),
            num_compared=num_compared,
            num_moved=sum(one != 0 for one in differences),
            rms=math.sqrt(squares / num_compared) if num_compared else 0.0,
            largest=max(map(abs, differences), default=0.0),
        )

    def _check(self, canary: _Canary, again: float) -> None:
        if self._spread.num_rewards < MIN_REWARDS:
            return
        deviation = self._spread.deviation()
        limit = self._config.canary_tolerance * deviation
        if abs(again - canary.reward) > limit:
            raise EndpointError(
                f"{self._service}: the same item {canary.group.items[0].id} had reward "
                f"{canary.reward:.4g} and has {again:.4g} now; a canary may move by {limit:.3g} "
                f"(run.canary_tolerance {self._config.canary_tolerance:g} of {deviation:.3g}, the "
                f"standard deviation of {self._spread.num_rewards} rewards)"
            )


class _Spread:
    """The standard deviation of all rewards that came."""

    def __init__(self) -> None:
        self.num_rewards = 0
        self._mean = 0.0
        self._squares = 0.0

    def add(self, answer: GroupRewards) -> None:
        for item in answer.items:
            if item.reward is not None:
                self.num_rewards += 1
                step = item.reward - self._mean
                self._mean += step / self.num_rewards
                self._squares += step * (item.reward - self._mean)

    def deviation(self) -> float:
        return math.sqrt(self._squares / max(1, self.num_rewards))


def _fit(
    groups: Sequence[Group], answers: Sequence[GroupRewards], load: LoadImage | None
) -> Iterator[_Canary]:
    """Yields what may be canaries: the first item of each group, then the second of each, and so on."""
    for depth in range(max((len(group.items) for group in groups), default=0)):
        for group, answer in zip(groups, answers, strict=True):
            reward = answer.items[depth].reward if depth < len(answer.items) else None
            if reward is not None and not _is_heavy(group):
                item = group.items[depth]
                # Logs of a service tell canaries from what is asked for its own sake.
                renamed = item.model_copy(update={"id": f"canary/{item.id}"})
                alone = Group(image=group.image, items=(renamed,))
                yield _Canary(group=alone, load=load, reward=reward)


def _is_heavy(group: Group) -> bool:
    data = None if group.image is None else group.image.data
    return data is not None and len(data) > MAX_HELD_BYTES


def _load_any(canaries: Sequence[_Canary]) -> LoadImage | None:
    loads = {
        one.group.image.sha256: one.load
        for one in canaries
        if one.load is not None and one.group.image is not None
    }
    return (lambda sha256: loads[sha256](sha256)) if loads else None
