"""What schemathesis is told of our services: msgpack, and which of its findings are decisions of ours.

It is read by schemathesis in `.venv-schemathesis`, so it imports nothing of this project. Findings that
fit `_DECIDED` are no failures, by the reasons beside them; a row's note says how many there were.
"""

# Its decorators are of `.venv-schemathesis` too.
# pyright: reportUntypedFunctionDecorator=false
from typing import Any

import msgpack
import schemathesis  # pyright: ignore[reportMissingImports]  (of `.venv-schemathesis`)

MSGPACK = "application/x-msgpack"

DEADLINE = "x-deadline-ms"

# A failed check, the code of the answer, and words of its message.
_DECIDED = (
    # The limits stand before the schema: what is too large is not looked at (413 by the code table).
    ("AcceptedNegativeData", "too_large", "the limit"),
    # No JSON schema can say that ids of one list differ.
    ("RejectedPositiveData", "invalid_request", "occurs twice"),
    # The fake engine has none; an engine that has them is asked by tests/services/surfaces/rest/test_chat.py.
    ("RejectedPositiveData", "invalid_request", "no chat routes"),
)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Returns whether a finding counts."""
    error = _error(response)
    # The request's own deadline, which may be 1 ms: 504 by the code table.
    if type(failure).__name__ == "ServerError" and error.get("code") == "deadline_exceeded":
        return DEADLINE not in {name.lower() for name in case.headers or ()}
    return not any(
        type(failure).__name__ == name
        and error.get("code") == code
        and words in error.get("message", "")
        for name, code, words in _DECIDED
    )


def _error(response: Any) -> dict[str, str]:
    try:
        value = _unpacked(None, response) if _is_msgpack(response) else response.json()
        return value["error"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_msgpack(response: Any) -> bool:
    return response.headers.get("content-type") == [MSGPACK]


@schemathesis.deserializer(MSGPACK)
def _unpacked(_context: Any, response: Any) -> Any:
    return msgpack.unpackb(response.content)


@schemathesis.serializer(MSGPACK)
def _packed(_context: Any, value: Any) -> Any:
    try:
        return msgpack.packb(value)
    except OverflowError:
        return b"\xc1"  # msgpack has no such number: a byte that it never uses
