"""The REST surface around BentoML's own: keys, body limit, deadline, msgpack, error bodies.

BentoML routes and parses JSON; this middleware gives it nothing but JSON and lets nothing but the
code table out. Knows no model.
"""

import asyncio
import base64
import ipaddress
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgpack
import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clients.wire import schemas
from clients.wire.codes import DEADLINE_HEADER, TABLE, Code
from services.auth import is_loopback
from services.errors import (
    DeadlineError,
    InternalError,
    InvalidRequestError,
    ServiceError,
    TooLargeError,
    UnauthenticatedError,
    error_body,
)
from services.lifecycle import Core, Runtime
from services.metrics import CANCELLED, OK, metrics

logger = logging.getLogger(__name__)

JSON = "application/json"
MSGPACK = "application/x-msgpack"
EXEMPT_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})
# vLLM's routes answer errors in OpenAI's shape, which holds a code and a message too.
OPENAI_PATHS = frozenset({"/v1/chat/completions", "/v1/models"})
# Where a request is work that admission bounds; it may be refused before its body is read.
BOUNDED_PATHS = frozenset({"/v1/score", "/v1/rewrite", "/v1/review", "/v1/likelihood"})
COUNTED_PATHS = BOUNDED_PATHS | OPENAI_PATHS | {"/v1/model"}

# No route, or not for this method: outside the table, worded as `invalid_request`.
_ROUTING_STATUSES = frozenset({404, 405})

C = TypeVar("C", bound=Core)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the middleware tells the handler of the request it serves."""

    deadline: float  # on the event loop's clock
    wants_msgpack: bool


_CALL: ContextVar[Call] = ContextVar("a2l_call")


def current_call() -> Call:
    """Returns the call that is being served."""
    return _CALL.get()


async def answer(ask: Callable[[float], Awaitable[schemas.Message]]) -> Response:
    """Returns what `ask` answers, given the deadline, as a response; or its error."""
    call = current_call()
    try:
        return body_response(await ask(call.deadline), wants_msgpack=call.wants_msgpack)
    except ServiceError as error:
        return error_response(error, wants_msgpack=call.wants_msgpack)
    # A fault of ours is worded by the table and logged once, not by BentoML.
    except Exception as error:
        logger.exception("a request failed")
        fault = InternalError(f"the service failed: {type(error).__name__}")
        return error_response(fault, wants_msgpack=call.wants_msgpack)


def body_response(message: schemas.Message, *, wants_msgpack: bool) -> Response:
    """Returns a message as a body; absent members are left out."""
    if wants_msgpack:
        packed = msgpack.packb(message.model_dump(exclude_none=True))
        return Response(packed, media_type=MSGPACK)
    return Response(message.model_dump_json(exclude_none=True), media_type=JSON)


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


class RestSurface(Generic[C]):
    """The middleware; BentoML makes it with the app it wraps."""

    def __init__(self, app: ASGIApp, runtime: Runtime[C]) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request; other traffic than HTTP and start-up is refused."""
        if scope["type"] == "lifespan" or scope.get("path") in EXEMPT_PATHS:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = Headers(scope=scope)
        wants_msgpack = MSGPACK in headers.get("accept", "")
        exchange = _Exchange(
            send, wants_msgpack=wants_msgpack, is_openai=scope["path"] in OPENAI_PATHS
        )
        try:
            self._check_caller(scope, headers)
            call = Call(deadline=self._deadline(headers), wants_msgpack=wants_msgpack)
            if scope["path"] in BOUNDED_PATHS and scope["method"] == "POST":
                self._runtime.refuse_early()
            body = await self._body(headers, receive, call.deadline)
            _CALL.set(call)
            inner = {**scope, "headers": _json_headers(headers, num_bytes=len(body))}
            await exchange.run(self._app, inner, body=body, receive=receive)
        except ServiceError as error:
            await exchange.fail(error)
        # What a library lets through is worded by the table too.
        except Exception as error:
            logger.exception("a request failed outside its handler")
            await exchange.fail(InternalError(f"the service failed: {type(error).__name__}"))
        finally:
            if scope["path"] in COUNTED_PATHS:
                metrics().count_request(
                    surface="rest",
                    method=scope["path"].removeprefix("/v1/"),
                    code=exchange.code,
                    elapsed_s=time.perf_counter() - began,
                )

    def _check_caller(self, scope: Scope, headers: Headers) -> None:
        started = self._runtime.started
        started.keys.check(headers.get("authorization", ""))
        if started.keys.is_empty and not self._runtime.settings.allow_open:
            _check_loopback(scope)

    def _deadline(self, headers: Headers) -> float:
        stated = headers.get(DEADLINE_HEADER, "")
        if stated and not (stated.isascii() and stated.isdigit() and int(stated) > 0):
            raise InvalidRequestError(
                f"{DEADLINE_HEADER} is {stated[:40]!r}; it takes a whole number of ms above 0"
            )
        deadline_ms = int(stated) if stated else self._runtime.settings.default_deadline_ms
        return asyncio.get_running_loop().time() + deadline_ms / 1e3

    async def _body(self, headers: Headers, receive: Receive, deadline: float) -> bytes:
        """Returns the whole body as JSON."""
        content_type = headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if content_type not in (JSON, MSGPACK):
            raise InvalidRequestError(
                f"the body is {content_type!r}; this service reads {JSON} and {MSGPACK}"
            )
        try:
            async with asyncio.timeout_at(deadline):
                body = await self._read(headers, receive)
        except TimeoutError:
            raise DeadlineError("the deadline passed before the body was read") from None
        return json_of_msgpack(body) if content_type == MSGPACK and body else body

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        limit = self._runtime.settings.max_body_bytes
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            raise TooLargeError(f"the body is {length} bytes; the limit is {limit}")
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise DeadlineError("the caller went away")
            body += message.get("body", b"")
            if len(body) > limit:
                raise TooLargeError(f"the body is over {limit} bytes, the limit")
            if not message.get("more_body", False):
                return bytes(body)


def _check_loopback(scope: Scope) -> None:
    """Refuses a request that came in on another address than loopback.

    A second line behind the check at start, for servers that bind after it.
    """
    server = scope.get("server")
    host = server[0] if server else "localhost"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return  # a socket's address is a number; a name comes from a test transport
    if not is_loopback(host):
        raise UnauthenticatedError("this service has no keys and answers on loopback only")


def _json_headers(headers: Headers, *, num_bytes: int) -> list[tuple[bytes, bytes]]:
    replaced = (b"content-type", b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in headers.raw if name not in replaced]
    return [
        *kept,
        (b"content-type", JSON.encode()),
        (b"content-length", str(num_bytes).encode()),
    ]


def json_of_msgpack(body: bytes) -> bytes:
    """Returns a msgpack body as JSON, its bytes as base64.

    Raises:
        InvalidRequestError: it is no msgpack, or holds what JSON cannot.
    """
    try:
        value = msgpack.unpackb(body, use_list=True)
        return orjson.dumps(value, default=_base64_of)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidRequestError(f"the body is no msgpack we can read: {error}") from error


def _base64_of(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a {type(value).__name__} has no JSON form")


class _Exchange:
    """One request's answer: passes good ones on, words bad ones by the table."""

    def __init__(self, send: Send, *, wants_msgpack: bool, is_openai: bool) -> None:
        self._send = send
        self._wants_msgpack = wants_msgpack
        self._is_openai = is_openai
        self._is_started = False
        self._failed_start: Message | None = None
        self._failed_body = bytearray()
        self.code: str = CANCELLED

    async def run(self, app: ASGIApp, scope: Scope, *, body: bytes, receive: Receive) -> None:
        """Runs the app; cancels it when the caller goes away before the answer has begun."""
        gone = asyncio.Event()
        is_read = False

        async def replay() -> Message:
            nonlocal is_read
            if not is_read:
                is_read = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        work = asyncio.ensure_future(app(scope, replay, self._forward))
        watch = asyncio.ensure_future(_until_disconnect(receive))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            gone.set()
            if not work.done() and not self._is_started:
                work.cancel()
            await asyncio.wait({work})
        finally:
            work.cancel()
            watch.cancel()
            await asyncio.wait({work, watch})
        if not work.cancelled():
            work.result()
        elif not self._is_started:
            # Nobody reads it, but the middleware outside must see that the request has ended.
            raise DeadlineError("the caller went away")

    async def _forward(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._is_started:
            self._is_started = True
            status: int = message["status"]
            self.code = OK if status < 400 else _code_of(status).value
            if status >= 400 and not self._is_openai:
                self._failed_start = message
                return
        if self._failed_start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._failed_body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_failed(self._failed_start)

    async def _send_failed(self, start: Message) -> None:
        body = bytes(self._failed_body)
        status: int = start["status"]
        if not is_table_body(body, Headers(raw=start["headers"]).get("content-type", "")):
            response = error_response(error_of(status, body), wants_msgpack=self._wants_msgpack)
            if status in _ROUTING_STATUSES:
                response.status_code = status
            await self._respond(response)
            return
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def fail(self, error: ServiceError) -> None:
        """Answers an error of the surface itself; too late once an answer has begun."""
        self.code = error.code.value
        if self._is_started:
            raise error
        await self._respond(error_response(error, wants_msgpack=self._wants_msgpack))

    async def _respond(self, response: Response) -> None:
        await self._send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
        )
        await self._send(
            {"type": "http.response.body", "body": bytes(response.body), "more_body": False}
        )


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def is_table_body(body: bytes, content_type: str) -> bool:
    """Returns whether a body is `{"error": {"code", "message"}}` with a code of the table."""
    try:
        value = msgpack.unpackb(body) if content_type == MSGPACK else orjson.loads(body)
    except (ValueError, msgpack.UnpackException):
        return False
    error = value.get("error") if isinstance(value, dict) else None
    return isinstance(error, dict) and error.get("code") in list(Code) and "message" in error


def error_of(status: int, body: bytes) -> ServiceError:
    """Returns the error that stands for a failed answer of BentoML's own."""
    message = message_of(body) or f"HTTP {status}"
    code = _code_of(status)
    for error in ServiceError.__subclasses__():
        if error.code is code and code is not Code.OVERLOADED:
            return error(message)
    return InternalError(message)


def _code_of(status: int) -> Code:
    """Returns the code of a status: those of the table, else by its class."""
    for code, row in TABLE.items():
        if row.http_status == status:
            return code
    return Code.INVALID_REQUEST if status < 500 else Code.INTERNAL


def message_of(body: bytes) -> str:
    """Returns what BentoML or starlette says in an error body: a list, a dict, or plain text."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace").strip()
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return str(value)
    faults = value.get("detail")
    if isinstance(faults, list) and faults:
        return "; ".join(_fault(fault) for fault in faults[:3])
    return str(value.get("error", ""))


def _fault(fault: object) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    place = ".".join(str(part) for part in fault.get("loc", ()))
    return f"{place}: {fault.get('msg', '')}"
