"""Error bodies of REST: always `{"error": {"code", "message"}}`, whoever failed.

BentoML, starlette and vLLM answer errors in forms of their own; here they are read and worded by
the code table. Knows no route.
"""

import math

import msgpack
import orjson
from starlette.responses import Response

from align2llava.clients.wire.codes import TABLE, Code
from align2llava.services.errors import InternalError, ServiceError, error_body
from align2llava.services.faults import worded
from align2llava.services.surfaces.rest.bodies import JSON, MSGPACK


def error_response(error: ServiceError, *, wants_msgpack: bool) -> Response:
    """Returns an error of the table as a response."""
    body = error_body(error)
    plain = {"error": {"code": body.code, "message": body.message}}
    content = msgpack.packb(plain) if wants_msgpack else orjson.dumps(plain)
    headers = {}
    if body.retry_after_ms:
        # Whole seconds are all that the header allows; rounded up.
        headers["retry-after"] = str(math.ceil(body.retry_after_ms / 1e3))
    return Response(
        content,
        status_code=TABLE[error.code].http_status,
        headers=headers,
        media_type=MSGPACK if wants_msgpack else JSON,
    )


def is_table_body(body: bytes, content_type: str) -> bool:
    """Returns whether a body is `{"error": {"code", "message"}}` with a code of the table."""
    try:
        value = msgpack.unpackb(body) if content_type == MSGPACK else orjson.loads(body)
    except (ValueError, msgpack.UnpackException):
        return False
    error = value.get("error") if isinstance(value, dict) else None
    return (
        isinstance(error, dict)
        and error.keys() == {"code", "message"}
        and error["code"] in list(Code)
    )


def error_of(status: int, body: bytes) -> ServiceError:
    """Returns the error that stands for a failed answer of a library."""
    message = message_of(body) or f"HTTP {status}"
    code = code_of(status)
    for error in ServiceError.__subclasses__():
        if error.code is code and code is not Code.OVERLOADED:
            return error(message)
    return InternalError(message)


def code_of(status: int) -> Code:
    """Returns the code of a status: those of the table, else by its class."""
    for code, row in TABLE.items():
        if row.http_status == status:
            return code
    return Code.INVALID_REQUEST if status < 500 else Code.INTERNAL


def message_of(body: bytes) -> str:
    """Returns what BentoML, starlette or vLLM says in an error body: a list, a dict, or plain text."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace").strip()
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return str(value)
    faults = value.get("detail")
    if isinstance(faults, list) and faults and all(isinstance(fault, dict) for fault in faults):
        return worded(faults)
    error = value.get("error", faults or "")
    said = str(error.get("message", "")) if isinstance(error, dict) else str(error)
    return " ".join(said.split())  # vLLM's have several lines
