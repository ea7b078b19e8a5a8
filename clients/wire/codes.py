"""The code table: every error a service can answer, once, for both transports.

Servers look up by code, clients by status; nobody compares text. The table is bijective
per transport: one HTTP status and one gRPC status for each code.
"""

from dataclasses import dataclass
from enum import StrEnum

import grpc


class Code(StrEnum):
    """The name of an error, as it stands in bodies, in the `a2l-code` trailer and in quarantine."""

    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    IMAGE_NEEDED = "image_needed"
    TOO_LARGE = "too_large"
    IMAGE_INVALID = "image_invalid"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"


class Retry(StrEnum):
    """What a client may do after an error."""

    NEVER = "never"
    WITH_DATA = "with_data"  # once, with the image bytes
    SLOWER = "slower"  # after the server's retry-after
    TWICE = "twice"  # at most two more attempts
    YES = "yes"
    CALLER_DECIDES = "caller_decides"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRow:
    """One row of the table."""

    http_status: int
    grpc_status: grpc.StatusCode
    retry: Retry


TABLE: dict[Code, CodeRow] = {
    Code.INVALID_REQUEST: CodeRow(
        http_status=400, grpc_status=grpc.StatusCode.INVALID_ARGUMENT, retry=Retry.NEVER
    ),
    Code.UNAUTHENTICATED: CodeRow(
        http_status=401, grpc_status=grpc.StatusCode.UNAUTHENTICATED, retry=Retry.NEVER
    ),
    Code.IMAGE_NEEDED: CodeRow(
        http_status=409, grpc_status=grpc.StatusCode.FAILED_PRECONDITION, retry=Retry.WITH_DATA
    ),
    Code.TOO_LARGE: CodeRow(
        http_status=413, grpc_status=grpc.StatusCode.OUT_OF_RANGE, retry=Retry.NEVER
    ),
    Code.IMAGE_INVALID: CodeRow(
        http_status=422, grpc_status=grpc.StatusCode.DATA_LOSS, retry=Retry.NEVER
    ),
    Code.OVERLOADED: CodeRow(
        http_status=429, grpc_status=grpc.StatusCode.RESOURCE_EXHAUSTED, retry=Retry.SLOWER
    ),
    Code.INTERNAL: CodeRow(
        http_status=500, grpc_status=grpc.StatusCode.INTERNAL, retry=Retry.TWICE
    ),
    Code.UNAVAILABLE: CodeRow(
        http_status=503, grpc_status=grpc.StatusCode.UNAVAILABLE, retry=Retry.YES
    ),
    Code.DEADLINE_EXCEEDED: CodeRow(
        http_status=504, grpc_status=grpc.StatusCode.DEADLINE_EXCEEDED, retry=Retry.CALLER_DECIDES
    ),
}

BY_NAME: dict[str | None, Code] = {code.value: code for code in Code}
BY_HTTP_STATUS: dict[int, Code] = {row.http_status: code for code, row in TABLE.items()}
BY_GRPC_STATUS: dict[grpc.StatusCode, Code] = {row.grpc_status: code for code, row in TABLE.items()}

CODE_TRAILER = "a2l-code"
RETRY_AFTER_TRAILER = "a2l-retry-after-ms"
DEADLINE_HEADER = "x-deadline-ms"
MAX_DEADLINE_MS = 2**32 - 1  # of the header, and of `deadline_ms` in the gRPC contract: 49 days


def code_of_http(status: int) -> Code:
    """Returns the code of an HTTP status; a status outside the table is `internal`.

    A proxy's 502 means the same as our 503: the service cannot be reached now.
    """
    if status == 502:
        return Code.UNAVAILABLE
    return BY_HTTP_STATUS.get(status, Code.INTERNAL)


def code_of_grpc(status: grpc.StatusCode, trailer: str | None) -> Code:
    """Returns the code of a gRPC status and its `a2l-code` trailer; outside the table is `internal`.

    The gRPC library itself answers RESOURCE_EXHAUSTED, without our trailer, when a message is over
    its size limit: that is `too_large`, not `overloaded`.
    """
    if trailer in BY_NAME:
        return BY_NAME[trailer]
    if status is grpc.StatusCode.CANCELLED:  # the server went away under the call
        return Code.UNAVAILABLE
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Code.TOO_LARGE
    return BY_GRPC_STATUS.get(status, Code.INTERNAL)
