"""Errors a service answers: one class, whose code is a row of the wire table.

ServiceError(code)
  +-- InvalidRequestError, UnauthenticatedError, ImageNeededError, TooLargeError,
      ImageInvalidError, OverloadedError, InternalError, UnavailableError, DeadlineError

Both surfaces translate them by `clients.wire.codes.TABLE`; engines and the batcher raise or
return them and know no transport.
"""

from align2llava.clients.wire.codes import Code
from align2llava.clients.wire.schemas import ErrorBody

MAX_MESSAGE_CHARS = 500  # at most 6 KB in a trailer, whose limit is 8 KiB at clients' ends


class ServiceError(Exception):
    """Base of all; the message says what was wrong, which one, and the limit."""

    code: Code = Code.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequestError(ServiceError):
    """The request or the item does not fit the contract."""

    code = Code.INVALID_REQUEST


class UnauthenticatedError(ServiceError):
    """No bearer key, or an unknown one."""

    code = Code.UNAUTHENTICATED


class ImageNeededError(ServiceError):
    """The image was named by hash alone and is not held here."""

    code = Code.IMAGE_NEEDED


class TooLargeError(ServiceError):
    """A body, an item, an image or a text is over its limit."""

    code = Code.TOO_LARGE


class ImageInvalidError(ServiceError):
    """The bytes are no image we read, or do not have the hash they claim."""

    code = Code.IMAGE_INVALID


class OverloadedError(ServiceError):
    """A queue is full; `retry_after_ms` says when to come again."""

    code = Code.OVERLOADED

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class InternalError(ServiceError):
    """The service's own fault."""

    code = Code.INTERNAL


class UnavailableError(ServiceError):
    """The service is loading, draining or dead; `retry_after_ms` says when to come again, 0 says nothing."""

    code = Code.UNAVAILABLE

    def __init__(self, message: str, *, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class DeadlineError(ServiceError):
    """The caller's deadline passed before the work was done."""

    code = Code.DEADLINE_EXCEEDED


def error_body(error: ServiceError) -> ErrorBody:
    """Returns an error as the wire states it, of an item or of a whole request.

    A message that quotes much of a request is cut: gRPC clients refuse a long one, and then see
    neither code nor message.
    """
    can_say = isinstance(error, OverloadedError | UnavailableError)
    message = error.message
    if len(message) > MAX_MESSAGE_CHARS:
        message = f"{message[:MAX_MESSAGE_CHARS]}..."
    return ErrorBody(
        code=error.code, message=message, retry_after_ms=error.retry_after_ms if can_say else 0
    )
