"""Bounds are above every good answer, and grow with what was asked alone."""

from align2llava.clients.transport.bounds import MAX_ANSWER_BYTES, MAX_FIELDS, bounds_of
from align2llava.clients.wire import schemas
from align2llava.clients.wire.schemas import (
    Group,
    Item,
    Message,
    ReviewItem,
    ReviewRequest,
    RewriteItem,
    RewriteRequest,
    Sampling,
    ScoreRequest,
    Turn,
)

MANY = 64 * 2**20
TURN = Turn(question="q" * 100, answer="a" * 100)


def rewrites(num_items: int, **changes: object) -> RewriteRequest:
    item = RewriteItem(id="i", question=TURN.question, answer=TURN.answer)
    return RewriteRequest(items=(item.model_copy(update=changes),) * num_items)


def test_the_question_who_answers_has_no_lists_and_few_bytes():
    bounds = bounds_of(None, max_bytes=MANY)
    assert bounds.num_entries == 0
    assert bounds.num_bytes == 2**16


def test_lists_are_as_long_as_the_longest_that_was_asked_for():
    groups = (Group(items=(Item(id="i"),) * 5), Group(items=(Item(id="i"),)))
    bounds = bounds_of(ScoreRequest(groups=groups), max_bytes=MANY)
    assert bounds.num_entries == 5
    assert bounds.num_nodes == 4 * (1 + 2 + 6)
    review = ReviewRequest(items=(ReviewItem(id="i", original=TURN, rewrite=TURN),) * 3)
    assert bounds_of(review, max_bytes=MANY).num_entries == 3


def test_completions_are_bounded_by_their_prompt_or_by_their_tokens():
    by_prompt = bounds_of(rewrites(2), max_bytes=MANY).num_bytes
    assert 2 * 200 * 16 < by_prompt < 2**18
    sampling = Sampling(max_tokens=10_000)
    by_tokens = bounds_of(rewrites(2, sampling=sampling), max_bytes=MANY).num_bytes
    assert by_tokens > 2 * 10_000 * 64


def test_the_limit_of_the_endpoint_is_never_passed():
    sampling = Sampling(max_tokens=2**32 - 1)
    assert bounds_of(rewrites(1, sampling=sampling), max_bytes=MANY).num_bytes == MAX_ANSWER_BYTES
    assert bounds_of(rewrites(1, sampling=sampling), max_bytes=1000).num_bytes == 1000


def test_no_message_has_more_fields_than_may_come():
    messages = [
        one for one in vars(schemas).values() if isinstance(one, type) and issubclass(one, Message)
    ]
    assert max(len(one.model_fields) for one in messages) <= MAX_FIELDS
