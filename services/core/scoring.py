"""The core of both reward services: a `ScoreRequest` in, a `ScoreResponse` out.

One for REST and gRPC. Checks requests and items, resolves images, and feeds the batcher. An item
or a group that cannot be scored costs only itself. Knows no transport.
"""

import asyncio
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from PIL import Image

from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import (
    MAX_REWARD,
    Group,
    GroupRewards,
    Item,
    ItemReward,
    ModelIdentity,
    ScoreRequest,
    ScoreResponse,
    Usage,
)
from align2llava.services.core.admission import Admission
from align2llava.services.core.backlog import Backlog, Held
from align2llava.services.core.batching import Batcher, BatchLimits, BatchStats
from align2llava.services.core.gathering import gathered
from align2llava.services.core.images import ImageLimits, ImageStore
from align2llava.services.core.metrics import Metrics
from align2llava.services.engines.api import (
    Candidate,
    GroupScore,
    RewardEngine,
    RewardGroup,
    RowReward,
)
from align2llava.services.errors import (
    DeadlineError,
    InternalError,
    InvalidRequestError,
    ServiceError,
    TooLargeError,
    UnavailableError,
    error_body,
)
from align2llava.services.settings import Settings

_WARM_UP_S = 300.0


class ScoreCore:
    """Scores requests with one engine; every method from the event loop."""

    def __init__(
        self,
        engine: RewardEngine,
        *,
        kind: RewardKind,
        settings: Settings,
        executor: ThreadPoolExecutor,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._kind: RewardKind = kind
        self._engine = engine
        self._settings = settings
        self._admission = admission
        self._metrics = metrics
        self._images = ImageStore(
            ImageLimits(
                max_bytes=settings.max_image_bytes,
                max_pixels=settings.max_pixels,
                max_decode_ms=settings.max_decode_ms,
            ),
            num_threads=settings.num_decode_threads,
            max_cache_bytes=settings.max_cache_bytes,
        )
        self._backlog = Backlog(max_tokens=settings.max_queue_batches * settings.max_batch_tokens)
        self._batcher = Batcher(
            engine.prepare,
            engine.launch,
            executor=executor,
            limits=BatchLimits(
                max_tokens=settings.max_batch_tokens,
                max_wait_ms=settings.max_wait_ms,
                num_prepare_threads=settings.num_decode_threads,
            ),
            on_start=self._on_start,
            on_batch=self._on_batch,
        )
        self._batcher.start()

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers."""
        return self._engine.identity

    @property
    def is_running(self) -> bool:
        """Whether the batch loop can still answer."""
        return self._batcher.is_running

    @property
    def is_stuck(self) -> bool:
        """Whether no image can be decoded now."""
        return self._images.is_stuck

    def refuse_early(self) -> None:
        """Refuses any request, before it is parsed, where there is no room for more work.

        Raises:
            ServiceError: the service is full or closed, or too much work waits for the device.
        """
        self._admission.refuse_early()
        self._backlog.check(
            now_s=asyncio.get_running_loop().time(),
            retry_after_ms=self._admission.retry_after_ms(),
        )

    async def warm_up(self) -> None:
        """Scores one candidate, so that a service which says it is ready has answered once.

        Raises:
            ServiceError: the model does not answer, or not with a finite reward.
        """
        is_question = self._kind == "question-reward"
        candidate = Candidate(
            questions=("What is this?",), answer=None if is_question else "A grey square."
        )
        group = RewardGroup(image=Image.new("RGB", (64, 64), "grey"), candidates=(candidate,))
        deadline = asyncio.get_running_loop().time() + _WARM_UP_S
        score = await self._batcher.submit(group, deadline=deadline)
        row = score.rows[0]
        if isinstance(row, ServiceError):
            raise row
        float32(row.reward)

    async def score(self, request: ScoreRequest, *, deadline: float) -> ScoreResponse:
        """Returns a reward or an error for each item, in order.

        `deadline` is on the event loop's clock.

        Raises:
            ServiceError: the whole request is malformed, too large, late or not welcome now.
        """
        check_request(request, max_items=self._settings.max_request_items)
        num_items = sum(len(group.items) for group in request.groups)
        with self._admission.admit(num_items=num_items, num_bytes=num_bytes(request)):
            self._backlog.check(
                now_s=asyncio.get_running_loop().time(),
                retry_after_ms=self._admission.retry_after_ms(),
            )
            with self._backlog.hold(num_items) as held:
                groups = await self._all_rewards(request.groups, held, deadline=deadline)
        return ScoreResponse(model=self.identity, groups=tuple(groups))

    async def _all_rewards(
        self, groups: Sequence[Group], held: Held, *, deadline: float
    ) -> list[GroupRewards]:
        async def rewards_of(group: Group) -> GroupRewards:
            try:
                return await self._group_rewards(group, deadline=deadline)
            finally:
                held.release(len(group.items))

        try:
            async with asyncio.timeout_at(deadline):
                return await gathered(rewards_of(group) for group in groups)
        except TimeoutError:
            raise DeadlineError("the deadline passed before the request was scored") from None

    async def _group_rewards(self, group: Group, *, deadline: float) -> GroupRewards:
        try:
            image = await self._image(group)
        except ServiceError as error:
            return self._answered(group, [error] * len(group.items), usage=Usage())
        rows = [self._candidate(item) for item in group.items]
        candidates = [row for row in rows if isinstance(row, Candidate)]
        if not candidates:
            return self._answered(group, _merged(rows, []), usage=Usage())
        wanted = RewardGroup(
            image=image,
            candidates=tuple(candidates),
            image_key="" if group.image is None else group.image.sha256,
        )
        try:
            score = await self._batcher.submit(wanted, deadline=deadline)
        except (DeadlineError, UnavailableError):
            raise  # says nothing about the group's items
        except ServiceError as error:
            return self._answered(group, _merged(rows, [error] * len(candidates)), usage=Usage())
        if len(score.rows) != len(candidates):
            raise InternalError(f"{len(score.rows)} rewards for {len(candidates)} candidates")
        return self._answered(group, _merged(rows, score.rows), usage=self._usage(score))

    async def _image(self, group: Group) -> Image.Image | None:
        if group.image is not None:
            return await self._images.resolve(group.image)
        if not self._settings.allow_text_only:
            raise InvalidRequestError("the group has no image; this service needs one")
        return None

    def _candidate(self, item: Item) -> Candidate | ServiceError:
        try:
            return candidate_of(item, self._kind, max_chars=self._settings.max_text_chars)
        except ServiceError as error:
            return error

    def _usage(self, score: GroupScore) -> Usage:
        self._metrics.tokens.labels(part="prefix").inc(score.prefix_tokens)
        self._metrics.tokens.labels(part="suffix").inc(score.suffix_tokens)
        return Usage(
            prefix_tokens=score.prefix_tokens,
            suffix_tokens=score.suffix_tokens,
            device_ms=score.device_ms,
        )

    def _answered(
        self, group: Group, rows: Sequence[RowReward | ServiceError], *, usage: Usage
    ) -> GroupRewards:
        items = tuple(
            item_reward(item.id, row) for item, row in zip(group.items, rows, strict=True)
        )
        for item in items:
            if item.error is not None:
                self._metrics.item_errors.labels(code=item.error.code).inc()
        return GroupRewards(items=items, usage=usage)

    def _on_start(self, num_items: int, num_tokens: int) -> None:
        now_s = asyncio.get_running_loop().time()
        self._backlog.started(num_items=num_items, num_tokens=num_tokens, now_s=now_s)

    def _on_batch(self, stats: BatchStats) -> None:
        self._backlog.finished(
            num_items=stats.num_items,
            num_tokens=stats.num_tokens,
            device_s=stats.device_ms / 1e3,
            now_s=asyncio.get_running_loop().time(),
        )
        self._admission.observe(num_items=stats.num_items, elapsed_ms=stats.device_ms)
        self._metrics.count_batch(stats)

    async def aclose(self) -> None:
        """Finishes what waits, then stops."""
        await self._batcher.aclose()
        self._images.close()


def check_request(request: ScoreRequest, *, max_items: int) -> None:
    """Accepts a request whose every item can be answered by its id.

    Raises:
        InvalidRequestError: no groups, a group without items, an empty or repeated id.
        TooLargeError: more than `max_items` items.
    """
    if not request.groups:
        raise InvalidRequestError("the request has no groups")
    for position, group in enumerate(request.groups):
        ids = [item.id for item in group.items]
        if not ids:
            raise InvalidRequestError(f"group {position} has no items")
        check_ids(ids, where=f"group {position}")
    num_items = sum(len(group.items) for group in request.groups)
    if num_items > max_items:
        raise TooLargeError(f"the request has {num_items} items; the limit is {max_items}")


def check_ids(ids: Sequence[str], *, where: str) -> None:
    """Accepts ids that are given and unique.

    Raises:
        InvalidRequestError: an id is empty or occurs twice.
    """
    seen: set[str] = set()
    for one in ids:
        if not one:
            raise InvalidRequestError(f"{where}: an item has no id")
        if one in seen:
            raise InvalidRequestError(f"{where}: id {one!r} occurs twice")
        seen.add(one)


def candidate_of(item: Item, kind: RewardKind, *, max_chars: int) -> Candidate:
    """Returns the candidate an item asks about.

    Raises:
        InvalidRequestError: fields of the other kind, or a missing or blank text.
        TooLargeError: its texts are longer than `max_chars` together.
    """
    candidate = _question_candidate(item) if kind == "question-reward" else _answer_candidate(item)
    texts = (*candidate.questions, candidate.answer or "")
    if not all(question.strip() for question in candidate.questions):
        raise InvalidRequestError("a question is blank")
    check_length(texts, max_chars=max_chars)
    return candidate


def _question_candidate(item: Item) -> Candidate:
    if item.question is not None or item.answer is not None:
        raise InvalidRequestError("question-reward takes `questions`, not `question` or `answer`")
    if not item.questions:
        raise InvalidRequestError("question-reward needs `questions`: every human turn, in order")
    return Candidate(questions=item.questions, answer=None)


def _answer_candidate(item: Item) -> Candidate:
    if item.questions:
        raise InvalidRequestError("answer-reward takes `question` and `answer`, not `questions`")
    if item.question is None or item.answer is None:
        raise InvalidRequestError("answer-reward needs `question` and `answer`")
    if not item.answer.strip():
        raise InvalidRequestError("the answer is blank")
    return Candidate(questions=(item.question,), answer=item.answer)


def check_length(texts: Sequence[str], *, max_chars: int) -> None:
    """Accepts texts that are short enough together.

    Raises:
        TooLargeError: more than `max_chars` characters.
    """
    num_chars = sum(len(text) for text in texts)
    if num_chars > max_chars:
        raise TooLargeError(f"the item has {num_chars} characters; the limit is {max_chars}")


def num_bytes(request: ScoreRequest) -> int:
    """Returns about how much memory a request holds: images and characters."""
    total = 0
    for group in request.groups:
        if group.image is not None:
            total += len(group.image.data or b"")
        for item in group.items:
            texts = (*item.questions, item.question or "", item.answer or "")
            total += sum(len(text) for text in texts)
    return total


def _merged(
    rows: Sequence[Candidate | ServiceError], outcomes: Sequence[RowReward | ServiceError]
) -> list[RowReward | ServiceError]:
    """Returns the outcomes in the place of their candidates, beside the errors found before."""
    left = iter(outcomes)
    return [row if isinstance(row, ServiceError) else next(left) for row in rows]


def item_reward(item_id: str, row: RowReward | ServiceError) -> ItemReward:
    """Returns the wire outcome of a row; a reward that is not finite is an `internal` error."""
    match row:
        case ServiceError():
            return ItemReward(id=item_id, error=error_body(row))
        case RowReward():
            try:
                reward = float32(row.reward)
            except ServiceError as error:
                return ItemReward(id=item_id, error=error_body(error), num_tokens=row.num_tokens)
            return ItemReward(
                id=item_id, reward=reward, num_tokens=row.num_tokens, truncated=row.truncated
            )
        case _:
            assert_never(row)


def float32(reward: float) -> float:
    """Returns a reward rounded to float32, so that REST and gRPC answer the same number.

    Raises:
        InternalError: it is not finite, or beyond any that means something.
    """
    if not abs(reward) <= MAX_REWARD:
        raise InternalError(f"the model gave the reward {reward}; one is {MAX_REWARD:g} at most")
    rounded: float = struct.unpack("<f", struct.pack("<f", reward))[0]
    return rounded
