"""The core of inner-llm: rewrite, review and likelihood over a language engine.

One for REST and gRPC. The engine batches by itself; what is accepted at once is bounded by
`services.core.admission`. An item that fails costs only itself. Knows no transport.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

from align2llava.clients.wire.schemas import (
    MAX_NLL,
    ErrorBody,
    LikelihoodItem,
    LikelihoodRequest,
    LikelihoodResponse,
    LikelihoodResult,
    ModelIdentity,
    ReviewItem,
    ReviewRequest,
    ReviewResponse,
    ReviewResult,
    RewriteItem,
    RewriteRequest,
    RewriteResponse,
    RewriteResult,
    Sampling,
    Turn,
)
from align2llava.services.core.admission import Admission
from align2llava.services.core.gathering import gathered
from align2llava.services.core.metrics import Metrics
from align2llava.services.core.scoring import check_ids, check_length
from align2llava.services.core.sharing import SharedClock
from align2llava.services.engines.api import LanguageEngine, Rollout
from align2llava.services.engines.prompts import (
    CHOICES,
    ReviewOrder,
    combined,
    default_max_tokens,
    parse_rewrite,
    review_messages,
    rewrite_messages,
    verdict_of,
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

logger = logging.getLogger(__name__)

_CHOICE_TOKENS = 4  # a constrained letter is one or two tokens
_WARM_UP_S = 300.0

Q = TypeVar("Q", RewriteItem, ReviewItem, LikelihoodItem)
R = TypeVar("R", RewriteResult, ReviewResult, LikelihoodResult)


class AlignCore:
    """Answers requests with one engine; every method from the event loop."""

    def __init__(
        self,
        engine: LanguageEngine,
        *,
        settings: Settings,
        admission: Admission,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._admission = admission
        self._metrics = metrics
        self._clock = SharedClock()

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers."""
        return self._engine.identity

    @property
    def is_running(self) -> bool:
        """Whether the engine can still answer."""
        return self._engine.is_running

    @property
    def is_stuck(self) -> bool:
        """Never: what holds up vLLM's core cannot be seen from here, but for deadlines that pass."""
        return False

    def refuse_early(self) -> None:
        """Refuses any request, before it is parsed, where there is no room for more work.

        Raises:
            ServiceError: the service is full or closed.
        """
        self._admission.refuse_early()

    async def warm_up(self) -> None:
        """Does once what requests ask for, so that none of them waits for what is built at first use.

        Raises:
            ServiceError: the model does not answer.
        """
        turn = Turn(question="What is this?", answer="A grey square.")
        rewrite = rewrite_messages(turn)
        review = review_messages(turn, turn, order=ReviewOrder.ORIGINAL_FIRST)
        ask = self._engine.complete
        async with asyncio.timeout(_WARM_UP_S):
            await ask(rewrite, temperature=0.0, seed=0, max_tokens=8)
            await ask(rewrite, temperature=1.0, seed=0, max_tokens=8)
            await ask(review, temperature=0.0, seed=0, max_tokens=_CHOICE_TOKENS, choices=CHOICES)
            await self._engine.likelihood(turn.question, turn.answer)

    async def rewrite(self, request: RewriteRequest, *, deadline: float) -> RewriteResponse:
        """Returns one rewrite, unparsed completion or error for each item, in order."""
        items, device_ms = await self._answered(
            request.items,
            self._rewritten,
            failed=lambda item, error: RewriteResult(id=item.id, error=error),
            deadline=deadline,
        )
        return RewriteResponse(model=self.identity, items=items, device_ms=device_ms)

    async def review(self, request: ReviewRequest, *, deadline: float) -> ReviewResponse:
        """Returns one verdict, taken in both orders, or error for each item, in order."""
        items, device_ms = await self._answered(
            request.items,
            self._reviewed,
            failed=lambda item, error: ReviewResult(id=item.id, error=error),
            deadline=deadline,
        )
        return ReviewResponse(model=self.identity, items=items, device_ms=device_ms)

    async def likelihood(
        self, request: LikelihoodRequest, *, deadline: float
    ) -> LikelihoodResponse:
        """Returns a negative log-likelihood or error for each item, in order."""
        items, device_ms = await self._answered(
            request.items,
            self._likelihood,
            failed=lambda item, error: LikelihoodResult(id=item.id, error=error),
            deadline=deadline,
        )
        return LikelihoodResponse(model=self.identity, items=items, device_ms=device_ms)

    async def _answered(
        self,
        items: Sequence[Q],
        answer: Callable[[Q], Coroutine[None, None, R]],
        *,
        failed: Callable[[Q, ErrorBody], R],
        deadline: float,
    ) -> tuple[tuple[R, ...], float]:
        """Returns the outcome of each item and the request's share of device time, in ms.

        Raises:
            ServiceError: the whole request is malformed, too large, late or not welcome now.
        """
        check_items(items, max_items=self._settings.max_request_items)
        num_bytes = sum(len(text) for item in items for text in texts_of(item))
        kind = type(items[0]).__name__  # a review may wait for what holds up no rewrite
        with self._admission.admit(num_items=len(items), num_bytes=num_bytes, kind=kind):
            try:
                async with asyncio.timeout_at(deadline):
                    outcomes = await gathered(self._outcome(item, answer) for item in items)
            except TimeoutError:
                raise DeadlineError("the deadline passed before the request was done") from None
        results = tuple(
            failed(item, self._counted(outcome)) if isinstance(outcome, ServiceError) else outcome
            for item, (outcome, _) in zip(items, outcomes, strict=True)
        )
        device_ms = sum(charge for _, charge in outcomes)
        self._metrics.device_seconds.inc(device_ms / 1e3)
        return results, device_ms

    async def _outcome(
        self, item: Q, answer: Callable[[Q], Coroutine[None, None, R]]
    ) -> tuple[R | ServiceError, float]:
        mark = self._clock.enter()
        try:
            check_length(texts_of(item), max_chars=self._settings.max_text_chars)
            outcome: R | ServiceError = await answer(item)
        except (DeadlineError, UnavailableError):
            self._clock.leave_ms(mark)
            raise  # says nothing about the item
        except ServiceError as error:
            outcome = error
        # Whatever the engine raises belongs to this item and must not fail the others.
        except Exception as error:
            logger.exception("an item failed")
            outcome = InternalError(f"the engine failed: {type(error).__name__}")
        except BaseException:
            self._clock.leave_ms(mark)
            raise
        charge_ms = self._clock.leave_ms(mark)
        self._admission.observe(num_items=1, elapsed_ms=charge_ms)
        return outcome, charge_ms

    async def _rewritten(self, item: RewriteItem) -> RewriteResult:
        turn = Turn(question=item.question, answer=item.answer)
        check_turn(turn, name="the turn")
        sampling = item.sampling or Sampling()
        rollout = await self._engine.complete(
            rewrite_messages(turn),
            temperature=sampling.temperature,
            seed=sampling.seed,
            max_tokens=sampling.max_tokens,
        )
        self._count_tokens(rollout)
        rewritten = parse_rewrite(rollout.text)
        bound = sampling.max_tokens or default_max_tokens(rollout.num_prompt_tokens)
        return RewriteResult(
            id=item.id,
            rewritten=rewritten,
            unparsed=rollout.text if rewritten is None else None,
            num_prompt_tokens=rollout.num_prompt_tokens,
            num_completion_tokens=rollout.num_completion_tokens,
            finish_reason=rollout.finish_reason,
            sampling=sampling.model_copy(update={"max_tokens": bound}),
        )

    async def _reviewed(self, item: ReviewItem) -> ReviewResult:
        check_turn(item.original, name="the original")
        check_turn(item.rewrite, name="the rewrite")
        orders = (ReviewOrder.ORIGINAL_FIRST, ReviewOrder.REWRITE_FIRST)
        rollouts = await gathered(self._choice(item, order) for order in orders)
        original_first, rewrite_first = (
            verdict_of(rollout.text, order=order)
            for rollout, order in zip(rollouts, orders, strict=True)
        )
        return ReviewResult(
            id=item.id,
            reviewed=combined(original_first=original_first, rewrite_first=rewrite_first),
            num_prompt_tokens=sum(rollout.num_prompt_tokens for rollout in rollouts),
            num_completion_tokens=sum(rollout.num_completion_tokens for rollout in rollouts),
        )

    async def _choice(self, item: ReviewItem, order: ReviewOrder) -> Rollout:
        rollout = await self._engine.complete(
            review_messages(item.original, item.rewrite, order=order),
            temperature=0.0,
            seed=0,
            max_tokens=_CHOICE_TOKENS,
            choices=CHOICES,
        )
        self._count_tokens(rollout)
        return rollout

    async def _likelihood(self, item: LikelihoodItem) -> LikelihoodResult:
        likelihood = await self._engine.likelihood(item.prompt, item.completion)
        if not abs(likelihood.nll) <= MAX_NLL:
            raise InternalError(f"the model gave the log-likelihood {-likelihood.nll}")
        self._metrics.tokens.labels(part="likelihood").inc(likelihood.num_tokens)
        return LikelihoodResult(id=item.id, nll=likelihood.nll, num_tokens=likelihood.num_tokens)

    def _count_tokens(self, rollout: Rollout) -> None:
        self._metrics.tokens.labels(part="prompt").inc(rollout.num_prompt_tokens)
        self._metrics.tokens.labels(part="completion").inc(rollout.num_completion_tokens)

    def _counted(self, error: ServiceError) -> ErrorBody:
        self._metrics.item_errors.labels(code=error.code).inc()
        return error_body(error)

    async def aclose(self) -> None:
        """Stops the engine."""
        await self._engine.close()


def check_items(
    items: Sequence[RewriteItem | ReviewItem | LikelihoodItem], *, max_items: int
) -> None:
    """Accepts items that can be answered by their ids.

    Raises:
        InvalidRequestError: no items, an empty or repeated id.
        TooLargeError: more than `max_items`.
    """
    if not items:
        raise InvalidRequestError("the request has no items")
    check_ids([item.id for item in items], where="the request")
    if len(items) > max_items:
        raise TooLargeError(f"the request has {len(items)} items; the limit is {max_items}")


def check_turn(turn: Turn, *, name: str) -> None:
    """Accepts a turn with a question and an answer.

    Raises:
        InvalidRequestError: one of them is blank.
    """
    if not turn.question.strip() or not turn.answer.strip():
        raise InvalidRequestError(f"{name} needs a question and an answer that are not blank")


def texts_of(item: RewriteItem | ReviewItem | LikelihoodItem) -> tuple[str, ...]:
    """Returns all texts of an item."""
    match item:
        case RewriteItem():
            return (item.question, item.answer)
        case ReviewItem():
            turns = (item.original, item.rewrite)
            return tuple(text for turn in turns for text in (turn.question, turn.answer))
        case LikelihoodItem():
            return (item.prompt, item.completion)
