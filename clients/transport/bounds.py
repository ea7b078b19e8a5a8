"""How large an answer may be, by what was asked: looked at before it is parsed. Pure; knows no transport.

A few bytes of msgpack or protobuf become a list or a message of a hundred, and each of those an error of
some kilobytes where it does not fit: what nobody asked for must not be parsed.
"""

from dataclasses import dataclass

from align2llava.clients.wire.schemas import (
    LikelihoodRequest,
    Message,
    ReviewRequest,
    RewriteItem,
    RewriteRequest,
    ScoreRequest,
)

# Of any; gRPC holds as much, and some copies, for each call before it is looked at.
MAX_ANSWER_BYTES = 16 * 2**20
MAX_FIELDS = 16  # of a message; the widest has nine
_BASE_BYTES = 2**16  # the model, or an error
_ITEM_BYTES = 2**12  # numbers, and an error with its message
_NODES_PER_ITEM = 4  # the item and the messages in it
_BYTES_PER_TOKEN = 64  # a run of spaces is one token
_BYTES_PER_CHAR = 16  # where a completion is bounded by its prompt, whose words are tokens
_TEMPLATE_BYTES = 2**15  # what the prompt's own words allow besides


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most an answer may have: `num_entries` in any of its lists, `num_nodes` lists and messages in all."""

    num_bytes: int
    num_entries: int = 0
    num_nodes: int = _NODES_PER_ITEM


def bounds_of(request: Message | None, *, max_bytes: int) -> Bounds:
    """Returns the bounds of the answer to a request; None = of the question which model answers."""
    lists = [0]
    num_bytes = _BASE_BYTES
    match request:
        case ScoreRequest():
            lists = [len(request.groups), *(len(group.items) for group in request.groups)]
            items = (item for group in request.groups for item in group.items)
            num_bytes += sum(_ITEM_BYTES + 4 * len(item.id) for item in items)
        case RewriteRequest():
            lists = [len(request.items)]
            num_bytes += sum(_ITEM_BYTES + 4 * len(one.id) + _text(one) for one in request.items)
        case ReviewRequest() | LikelihoodRequest():
            lists = [len(request.items)]
            num_bytes += sum(_ITEM_BYTES + 4 * len(item.id) for item in request.items)
        case _:
            pass
    return Bounds(
        num_bytes=min(num_bytes, max_bytes, MAX_ANSWER_BYTES),
        num_entries=max(lists),
        num_nodes=_NODES_PER_ITEM * (1 + sum(lists)),
    )


def _text(item: RewriteItem) -> int:
    """Returns the bytes that a completion may have."""
    if item.sampling is not None and item.sampling.max_tokens:
        return _BYTES_PER_TOKEN * item.sampling.max_tokens
    return _BYTES_PER_CHAR * (len(item.question) + len(item.answer)) + _TEMPLATE_BYTES
