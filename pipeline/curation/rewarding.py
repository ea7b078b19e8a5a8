"""One scored stage: asks a reward service for what the store lacks. Decides nothing.

Every record ends with all its rewards stored or with a fault in quarantine.
"""

from collections.abc import Iterator, Mapping

from clients.errors import ClientError
from clients.wire.schemas import Image
from pipeline.curation.asking import Answered, Ask, Slots, answers_of, batches, groups_of, item_of
from pipeline.curation.calls import call_bounded, stop_if_unusable
from pipeline.curation.committing import GroupCommit
from pipeline.curation.corpus import Corpus
from pipeline.curation.endpoints import RewardService
from pipeline.curation.layout import RewardStage
from pipeline.curation.progress import ProgressView
from pipeline.curation.quarantine import QuarantineStore
from pipeline.curation.records import Fault
from pipeline.curation.rows import Loaded, Row
from pipeline.curation.store import RewardStore
from pipeline.errors import InputError


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
        progress: ProgressView,
    ) -> None:
        store.require(service.model.identity)
        self._stage = stage
        self._service = service
        self._store = store
        self._quarantine = quarantine
        self._slots = slots
        self._progress = progress
        self._commits = GroupCommit(self._commit, num_pending=lambda: store.num_pending)

    async def run(self, corpus: Corpus, rows: Mapping[int, Row]) -> None:
        """Asks for every reward of `rows` that is not stored; what came is stored whatever happens.

        Raises:
            EndpointError: the service cannot be used; what was answered before is stored.
        """
        asks = self._asks(corpus, rows)
        source = batches(asks, max_items=self._service.config.batch_items)
        try:
            await call_bounded(source, self._call, max_calls=self._service.max_calls)
        finally:
            self._commit()

    def _asks(self, corpus: Corpus, rows: Mapping[int, Row]) -> Iterator[Ask]:
        asked: set[str] = set()  # equal records are asked for once
        for loaded in corpus.load(rows):
            ask = None if loaded.uid in asked else self._ask(loaded)
            if ask is None:
                self._progress.advance(1)
            else:
                asked.add(loaded.uid)
                yield ask

    def _ask(self, loaded: Loaded) -> Ask | None:
        slots = tuple(
            slot
            for slot in self._slots(loaded)
            if self._store.find((loaded.uid, slot.turn, slot.candidate)) is None
        )
        known = self._quarantine.find(loaded.uid, self._stage)
        if not slots or (known is not None and known.is_permanent):
            return None
        return Ask(
            loaded=loaded,
            slots=slots,
            items=tuple(item_of(loaded, slot) for slot in slots),
            image=_image(loaded),
        )

    async def _call(self, asks: tuple[Ask, ...]) -> None:
        service = self._service
        try:
            response = await service.client.score(
                groups_of(asks), timeout_s=service.config.timeout_s
            )
        except ClientError as error:
            stop_if_unusable(service.name, error)
            await self._one_by_one(asks, error)
            return
        for answered in answers_of(asks, response):
            self._take(answered)
        await self._commits.if_due()

    async def _one_by_one(self, asks: tuple[Ask, ...], error: ClientError) -> None:
        first, *others = asks
        if not others:
            fault = Fault(code=error.code, message=error.message)
            self._take(Answered(ask=first, rewards=(), fault=fault))
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
        self._progress.advance(1)

    def _commit(self) -> None:
        self._store.commit()
        self._quarantine.commit()


def _image(loaded: Loaded) -> Image:
    ref = loaded.row.image
    assert ref is not None  # text-only records are never scored
    try:
        return Image(sha256=ref.sha256, data=ref.path.read_bytes())
    except OSError as error:
        raise InputError(error.strerror or str(error), path=ref.path) from error
