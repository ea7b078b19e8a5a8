"""Alignment: kept turns rewritten by the inner LLM, gated, reviewed, and written into the ledger.

Pair-atomic: a turn's question and answer are replaced together or not at all. Whatever fails, the
original stands, so nothing is dropped here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from align2llava.clients.errors import ClientError
from align2llava.clients.wire.schemas import (
    ReviewItem,
    RewriteItem,
    RewriteResult,
    Turn,
    Verdict,
)
from align2llava.clients.wire.schemas import Sampling as WireSampling
from align2llava.pipeline.config.schema import AlignmentConfig, RunConfig
from align2llava.pipeline.curation.endpoints.opening import InnerLLMService
from align2llava.pipeline.curation.input.rows import LoadedRecord
from align2llava.pipeline.curation.layout import AlignStatus, Gate
from align2llava.pipeline.curation.run.outgoing import original_turns
from align2llava.pipeline.curation.stages.calls import Belief, call_bounded, stop_if_unusable
from align2llava.pipeline.curation.stages.commits import GroupCommit
from align2llava.pipeline.curation.stages.gates import gated, is_hard_format
from align2llava.pipeline.curation.store.ledger import Entry, Ledger, LedgerRow, SamplingUsed
from align2llava.pipeline.process.progress import ProgressView

_SHOWN_CHARS = 1000  # of a text that does not go out, beside four times what the original has


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnAsk:
    """One kept turn without a verdict."""

    uid: str
    turn: int
    original: Turn

    @property
    def id(self) -> str:
        """Returns the id of the wire item."""
        return f"{self.uid}/{self.turn}"


class Aligner:
    """Rewrites and reviews the kept turns of one run."""

    def __init__(
        self,
        *,
        service: InnerLLMService,
        ledger: Ledger,
        config: AlignmentConfig,
        run: RunConfig,
        progress: ProgressView,
    ) -> None:
        ledger.require(service.model.identity)
        self._service = service
        self._belief = Belief(service.name)
        self._ledger = ledger
        self._config = config
        self._seed = run.seed
        self._progress = progress
        self._sampling = SamplingUsed(temperature=config.temperature, max_tokens=config.max_tokens)
        self._commits = GroupCommit(
            ledger.commit,
            num_pending=lambda: ledger.num_pending,
            max_seconds=run.commit_seconds,
        )

    async def run(
        self, records: Iterable[LoadedRecord], chosen: Mapping[int, Sequence[int]]
    ) -> None:
        """Aligns every turn of `records` that has no verdict; what came is stored whatever happens.

        `chosen` gives the answer candidate of each turn, by position.

        Raises:
            EndpointError: the service cannot be used; what was answered before is stored.
        """
        source = self._batches(self._asks(records, chosen))
        try:
            calls = call_bounded(source, self._call, max_calls=self._service.max_calls)
            await self._commits.during(calls)
        finally:
            self._ledger.commit()

    def _asks(
        self, records: Iterable[LoadedRecord], chosen: Mapping[int, Sequence[int]]
    ) -> Iterator[TurnAsk]:
        asked: set[str] = set()  # equal records are asked for once
        for loaded in records:
            originals = original_turns(loaded, chosen[loaded.row.position])
            for turn, original in enumerate(originals if loaded.uid not in asked else ()):
                ask = TurnAsk(uid=loaded.uid, turn=turn, original=original)
                if self._has_verdict(self._ledger.find(ask.uid, turn), original):
                    continue
                if is_hard_format(original):
                    self._ledger.add(_left_alone(ask))
                    continue
                yield ask
            asked.add(loaded.uid)
            self._progress.advance(1)

    def _batches(self, asks: Iterator[TurnAsk]) -> Iterator[tuple[TurnAsk, ...]]:
        batch: list[TurnAsk] = []
        for ask in asks:
            batch.append(ask)
            if len(batch) == self._service.config.batch_items:
                yield tuple(batch)
                batch = []
        if batch:
            yield tuple(batch)

    def _has_verdict(self, entry: Entry | None, original: Turn) -> bool:
        if entry is None or not entry.is_verdict_on(original, is_review_on=self._config.review):
            return False
        is_same_draw = entry.sampling == self._sampling and entry.seed == self._seed
        return is_same_draw or entry.status is AlignStatus.HARD_FORMAT

    async def _call(self, asks: tuple[TurnAsk, ...]) -> None:
        try:
            rows = await self._rewritten(asks)
            if self._config.review:
                rows = await self._reviewed(rows)
        except ClientError as error:
            stop_if_unusable(self._service.name, error)
            await self._one_by_one(asks, error)
            return
        self._belief.keep()
        for row in rows:
            self._ledger.add(row)
        await self._commits.if_due()

    async def _one_by_one(self, asks: tuple[TurnAsk, ...], error: ClientError) -> None:
        first, *others = asks
        if not others:
            self._ledger.add(self._row(first, error_code=str(error.code)))
            self._belief.lose(error)
            return
        for ask in asks:
            await self._call((ask,))

    async def _rewritten(self, asks: Sequence[TurnAsk]) -> list[LedgerRow]:
        sampling = WireSampling(
            temperature=self._sampling.temperature,
            max_tokens=self._sampling.max_tokens,
            seed=self._seed,
        )
        items = [
            RewriteItem(
                id=ask.id,
                question=ask.original.question,
                answer=ask.original.answer,
                sampling=sampling,
            )
            for ask in asks
        ]
        response = await self._service.client.rewrite(
            items, timeout_s=self._service.config.timeout_s
        )
        return [
            self._after_rewrite(ask, result)
            for ask, result in zip(asks, response.items, strict=True)
        ]

    def _after_rewrite(self, ask: TurnAsk, result: RewriteResult) -> LedgerRow:
        if result.error is not None:
            return self._row(ask, error_code=result.error.code)
        trial = gated(ask.original, result, length_ratio=self._config.length_ratio)
        row = self._row(ask, error_code=None)
        text, unparsed = result.rewritten, result.unparsed
        if text is not None and not trial.passes:  # it is only shown
            text = Turn(
                question=_shown(text.question, ask.original.question),
                answer=_shown(text.answer, ask.original.answer),
            )
        return replace(
            row,
            rewrite=text,
            unparsed=None if unparsed is None else _shown(unparsed, ask.original.answer),
            finish_reason=result.finish_reason,
            gates=trial.outcomes,
            status=AlignStatus.REWRITTEN if trial.passes else AlignStatus.GATED,
        )

    async def _reviewed(self, rows: list[LedgerRow]) -> list[LedgerRow]:
        waiting = {
            f"{row.uid}/{row.turn}": row for row in rows if row.status is AlignStatus.REWRITTEN
        }
        items = [
            ReviewItem(id=name, original=row.original, rewrite=row.rewrite)
            for name, row in waiting.items()
            if row.rewrite is not None
        ]
        if not items:
            return rows
        response = await self._service.client.review(
            items, timeout_s=self._service.config.timeout_s
        )
        for item, result in zip(items, response.items, strict=True):
            row = waiting[item.id]
            if result.reviewed is None:
                code = None if result.error is None else result.error.code
                waiting[item.id] = replace(row, status=AlignStatus.NOT_ALIGNED, error_code=code)
                continue
            verdict = result.reviewed.verdict
            chose_rewrite = verdict is Verdict.REWRITE
            waiting[item.id] = replace(
                row,
                original_first=str(result.reviewed.original_first),
                rewrite_first=str(result.reviewed.rewrite_first),
                verdict=str(verdict),
                status=AlignStatus.REWRITTEN if chose_rewrite else AlignStatus.ORIGINAL,
            )
        return [waiting.get(f"{row.uid}/{row.turn}", row) for row in rows]

    def _row(self, ask: TurnAsk, *, error_code: str | None) -> LedgerRow:
        return LedgerRow(
            uid=ask.uid,
            turn=ask.turn,
            original=ask.original,
            prompt_version=self._service.model.template_version,
            identity=self._service.model.identity,
            sampling=self._sampling,
            seed=self._seed,
            status=AlignStatus.NOT_ALIGNED,
            error_code=error_code,
        )


def _shown(text: str, original: str) -> str:
    """Returns a text that does not go out, or as much of it as tells what is wrong with it."""
    return text[: 4 * len(original) + _SHOWN_CHARS]


def _left_alone(ask: TurnAsk) -> LedgerRow:
    return LedgerRow(
        uid=ask.uid,
        turn=ask.turn,
        original=ask.original,
        gates={Gate.SOFT_FORMAT: False},
        status=AlignStatus.HARD_FORMAT,
    )
