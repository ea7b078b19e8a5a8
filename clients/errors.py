"""Errors a client raises: one class per code of the table, and those that only a client can see.

ClientError(code)
  +-- InvalidRequestError, UnauthenticatedError, ImageNeededError, TooLargeError, ImageInvalidError
        InvalidRequestError <- OtherServiceError  another service or protocol answers at the URL
  +-- OverloadedError
        +-- ItemsRefusedError  the service answered, and refused items for now
  +-- UnavailableError
        +-- OtherModelError  no replica is left that is the model asked for
  +-- DeadlineError          the time given to the call is spent
  +-- ServerFaultError       the service answered `internal`
        +-- BadAnswerError   the answer does not fit the schema, or is not of this request
"""

import copy
from typing import TYPE_CHECKING, Self

from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.wording import cut

MAX_RETRY_AFTER_S = 3600.0

if TYPE_CHECKING:
    from align2llava.clients.wire.schemas import ScoreResponse


class ClientError(Exception):
    """Base of all; the message is one line of bounded length, whoever worded it.

    `retry_after_s` is what the service asked for, an hour at most, 0 where it asked for nothing.

    `partial` is of a call for rewards that was answered in part before it failed: an outcome of every
    item, in order, with an error where there is no reward.
    """

    code: Code = Code.INTERNAL
    partial: "ScoreResponse | None" = None

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        self.message = " ".join(cut(message).split())
        super().__init__(self.message)
        self.retry_after_s = min(retry_after_s, MAX_RETRY_AFTER_S)

    def with_partial(self, partial: "ScoreResponse | None") -> Self:
        """Returns this error for one call: those of a broken stream are raised in many."""
        error = copy.copy(self)
        error.partial = partial
        return error


class InvalidRequestError(ClientError):
    """The request does not fit the contract."""

    code = Code.INVALID_REQUEST


class OtherServiceError(InvalidRequestError):
    """Another service, or another protocol, answers at the URL: no attempt can help."""


class UnauthenticatedError(ClientError):
    """The service refuses our key."""

    code = Code.UNAUTHENTICATED


class ImageNeededError(ClientError):
    """The service does not hold an image that was named by hash."""

    code = Code.IMAGE_NEEDED


class TooLargeError(ClientError):
    """The request, or the answer, is over a size limit."""

    code = Code.TOO_LARGE


class ImageInvalidError(ClientError):
    """An image cannot be read, or does not have the hash it claims."""

    code = Code.IMAGE_INVALID


class OverloadedError(ClientError):
    """The service is full."""

    code = Code.OVERLOADED


class ItemsRefusedError(OverloadedError):
    """The service answered a call, and refused some of its items, or all, for now."""


class UnavailableError(ClientError):
    """The service cannot be reached, is loading or is draining."""

    code = Code.UNAVAILABLE


class OtherModelError(UnavailableError):
    """Every replica of a pool answered as another model than the pool's."""


class DeadlineError(ClientError):
    """The time given to the call is spent."""

    code = Code.DEADLINE_EXCEEDED


class ServerFaultError(ClientError):
    """The service failed."""

    code = Code.INTERNAL


class BadAnswerError(ServerFaultError):
    """The answer does not fit the schema, or is not of this request."""


_BY_CODE: dict[Code, type[ClientError]] = {
    error.code: error
    for error in (
        InvalidRequestError,
        UnauthenticatedError,
        ImageNeededError,
        TooLargeError,
        ImageInvalidError,
        OverloadedError,
        UnavailableError,
        DeadlineError,
        ServerFaultError,
    )
}


def error_of(code: Code, message: str, *, retry_after_s: float = 0.0) -> ClientError:
    """Returns the error of a code that a service answered."""
    return _BY_CODE[code](message, retry_after_s=retry_after_s)
