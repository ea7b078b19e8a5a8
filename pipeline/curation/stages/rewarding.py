"""One scored stage: asks a reward service for what the store lacks. Decides nothing.

Every record ends with all its rewards stored or with a fault in quarantine.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from align2llava.clients.errors import ClientError
from align2llava.clients.wire.decoding import ImageDataError
from align2llava.pipeline.config.schema import RunConfig
from align2llava.pipeline.curation.endpoints.opening import RewardService
from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.rows import ImageRef, LoadedRecord
from align2llava.pipeline.curation.layout import RewardStage
from align2llava.pipeline.curation.stages.batches import (
    Answered,
    Ask,
    Slots,
    Window,
    answers_of,
    batches,
    groups_of,
    item_of,
    rest_of,
)
from align2llava.pipeline.curation.stages.calls import Belief, call_bounded, stop_if_unusable
from align2llava.pipeline.curation.stages.commits import GroupCommit
from align2llava.pipeline.curation.store.quarantine import QuarantineStore
from align2llava.pipeline.curation.store.rewards import RewardStore
from align2llava.pipeline.errors import InputError
from align2llava.pipeline.image_files import image_bytes
from align2llava.pipeline.process.progress import ProgressView


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCounts:
    """What a stage asked for; records of one image in one group are sent as one.

    `num_images` are those of all records of the stage, asked for now or before.
    """

    num_asked: int
    num_images: int
    num_image_groups: int
    num_calls: int


class RewardStageRunner:
    """Scores the records of one stage and stores what comes."""

    def __init__(
        self,
        stage: RewardStage,
        *,
        service: RewardService,
        store: RewardStore,
        quarantine: QuarantineStore,
        slots: Slots,
        config: RunConfig,
        progress: ProgressView,
    ) -> None:
        store.require(service.model.identity)
        self._stage = stage
        self._service = service
        self._belief = Belief(service.name)
        self._store = store
        self._quarantine = quarantine
        self._slots = slots
        self._progress = progress
        self._commits = GroupCommit(
            self._commit,
            num_pending=lambda: store.num_pending,
            max_seconds=config.commit_seconds,
        )
        self._window = Window(max_records=config.window_records)
        self._out: set[str] = set()  # uids asked for that have no reward yet
        self._num_asked = self._num_calls = 0

    def counts(self, *, num_images: int) -> StageCounts:
        """Returns what was asked for so far."""
        return StageCounts(
            num_asked=self._num_asked,
            num_images=num_images,
            num_image_groups=self._window.num_groups,
            num_calls=self._num_calls,
        )

    async def run(self, records: Iterable[LoadedRecord]) -> None:
        """Asks for every reward of `records` that is not stored; what came is stored whatever happens.

        Raises:
            EndpointError: the service cannot be used; what was answered before is stored.
        """
        asks = chain.from_iterable(self._window.grouped(self._asks(records)))
        source = batches(asks, max_items=self._service.config.batch_items)
        try:
            calls = call_bounded(source, self._call, max_calls=self._service.max_calls)
            await self._commits.during(calls)
        finally:
            self._commit()

    def _asks(self, records: Iterable[LoadedRecord]) -> Iterator[Ask]:
        for loaded in records:
            # Equal records are asked for once: the later one finds the answer, or the question out.
            ask = None if loaded.uid in self._out else self._ask(loaded)
            if ask is None:
                self._progress.advance(1)
            else:
                self._out.add(loaded.uid)
                self._num_asked += 1
                yield ask

    def _ask(self, loaded: LoadedRecord) -> Ask | None:
        slots = tuple(
            slot
            for slot in self._slots(loaded)
            if not self._store.holds((loaded.uid, slot.turn, slot.candidate))
        )
        known = self._quarantine.find(loaded.uid, self._stage)
        if not slots or (known is not None and known.is_permanent):
            return None
        image = loaded.row.image
        assert image is not None  # text-only records are never scored
        items = tuple(item_of(loaded, slot) for slot in slots)
        return Ask(loaded=loaded, slots=slots, items=items, image=image)

    async def _call(self, asks: tuple[Ask, ...]) -> None:
        service = self._service
        images = {ask.image.sha256: ask.image for ask in asks}
        self._num_calls += 1
        try:
            response = await service.client.score(
                groups_of(asks),
                timeout_s=service.config.timeout_s,
                load=lambda sha256: _bytes_of(images[sha256]),
            )
        except ClientError as error:
            rest = self._rest(asks, error)
            stop_if_unusable(service.name, error)
            await self._one_by_one(rest, error)
            return
        self._belief.keep()
        for answered in answers_of(asks, response):
            self._take(answered)
        await self._commits.if_due()

    def _rest(self, asks: tuple[Ask, ...], error: ClientError) -> tuple[Ask, ...]:
        """Stores what a failed call was answered, and returns what it was not."""
        if error.partial is None:
            return asks
        rest: list[Ask] = []
        for answered in answers_of(asks, error.partial):
            if answered.fault is None:
                self._take(answered)
            else:
                self._store.add(answered.rewards)
                rest.append(rest_of(answered))
        return tuple(rest)

    async def _one_by_one(self, asks: tuple[Ask, ...], error: ClientError) -> None:
        if len(asks) == 1:
            fault = Fault(code=error.code, message=error.message)
            self._take(Answered(ask=asks[0], rewards=(), fault=fault))
            self._belief.lose(error)
            return
        for ask in asks:
            await self._call((ask,))

    def _take(self, answered: Answered) -> None:
        self._store.add(answered.rewards)
        if answered.fault is not None:
            loaded = answered.ask.loaded
            self._quarantine.add(
                position=loaded.row.position,
                uid=loaded.uid,
                raw=loaded.raw,
                stage=self._stage,
                fault=answered.fault,
            )
        else:
            self._out.discard(answered.ask.loaded.uid)
        self._progress.advance(1)

    def _commit(self) -> None:
        self._store.commit()
        self._quarantine.commit()


def _bytes_of(image: ImageRef) -> bytes:
    try:
        return image_bytes(image.path, max_bytes=image.num_bytes)
    except OSError as error:
        raise InputError(error.strerror or str(error), path=image.path) from error
    except ImageDataError as error:
        raise InputError(
            f"the image {error} that the run looked at first", path=image.path
        ) from error
