"""The REST surface around BentoML's own: keys, deadline, bodies, errors.

BentoML routes; this middleware reads and validates (`rest_bodies`), hands the request to the handler
by the scope (`hosting`), and lets nothing but the code table out (`rest_exchange`). Knows no model.
"""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgpack
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from align2llava.clients.wire import schemas
from align2llava.clients.wire.codes import DEADLINE_HEADER, MAX_DEADLINE_MS
from align2llava.services.auth import is_loopback, refuse_foreign_page
from align2llava.services.core.admission import MAX_WAIT_S
from align2llava.services.core.metrics import metrics
from align2llava.services.engines import chat_requests
from align2llava.services.errors import (
    InvalidRequestError,
    ServiceError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from align2llava.services.faults import service_error
from align2llava.services.process.hosting import REQUEST
from align2llava.services.process.lifecycle import Core, Runtime
from align2llava.services.surfaces.counting import max_values
from align2llava.services.surfaces.rest.bodies import (
    JSON,
    MSGPACK,
    BodyLimits,
    is_whole,
    json_headers,
    json_of,
    read_body,
    validated,
)
from align2llava.services.surfaces.rest.errors import error_response
from align2llava.services.surfaces.rest.exchange import Exchange

logger = logging.getLogger(__name__)

EXEMPT_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})
CHAT_PATH = "/v1/chat/completions"
OPENAI_PATHS = frozenset({CHAT_PATH, "/v1/models"})
# What is asked where a request is work that admission bounds; it may be refused before it is read.
REQUESTS: dict[str, type[schemas.Message]] = {
    "/v1/score": schemas.ScoreRequest,
    "/v1/rewrite": schemas.RewriteRequest,
    "/v1/review": schemas.ReviewRequest,
    "/v1/likelihood": schemas.LikelihoodRequest,
}
COUNTED_PATHS = frozenset({*REQUESTS, *OPENAI_PATHS, "/v1/model"})

_NOT_READY = 503
_MAX_ROUTE_CHARS = 120

C = TypeVar("C", bound=Core)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the middleware tells the handler of the request it serves."""

    deadline: float  # on the event loop's clock
    wants_msgpack: bool
    num_items: int = 1  # what a chat completion counts for at the door


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A body that was read: the request of one of our own routes, or what another one is passed."""

    request: schemas.Message | None = None
    body: bytes = b""
    num_items: int = 1


_CALL: ContextVar[Call] = ContextVar("a2l_call")


def current_call() -> Call:
    """Returns the call that is being served."""
    return _CALL.get()


async def answer(ask: Callable[[float], Awaitable[schemas.Message]]) -> Response:
    """Returns what `ask` answers, given the deadline, as a response; or its error."""
    call = current_call()
    try:
        return body_response(await ask(call.deadline), wants_msgpack=call.wants_msgpack)
    # A fault of ours is worded by the table and logged once, not by BentoML.
    except Exception as raised:  # noqa: BLE001  (logged by `service_error`)
        return error_response(service_error(raised), wants_msgpack=call.wants_msgpack)


def body_response(message: schemas.Message, *, wants_msgpack: bool) -> Response:
    """Returns a message as a body; absent members are left out."""
    if wants_msgpack:
        packed = msgpack.packb(message.model_dump(exclude_none=True))
        return Response(packed, media_type=MSGPACK)
    return Response(message.model_dump_json(exclude_none=True), media_type=JSON)


class RestSurface(Generic[C]):
    """The middleware; BentoML makes it with the app it wraps."""

    def __init__(self, app: ASGIApp, runtime: Runtime[C]) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request; other traffic than HTTP and start-up is refused."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope.get("path") in EXEMPT_PATHS:
            await self._probe(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _probe(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a probe on; an answer of BentoML's that it is not ready says why, by the table."""
        is_failed = False

        async def forward(message: Message) -> None:
            nonlocal is_failed
            if message["type"] == "http.response.start" and message["status"] == _NOT_READY:
                is_failed = True
                await error_response(self._why_not_ready(), wants_msgpack=False)(
                    scope, receive, send
                )
            elif not is_failed:
                await send(message)

        await self._app(scope, receive, forward)

    def _why_not_ready(self) -> ServiceError:
        try:
            _ = self._runtime.loaded
        except ServiceError as error:
            return error
        return UnavailableError("the service is not ready")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        headers = Headers(scope=scope)
        wants_msgpack = MSGPACK in headers.get("accept", "")
        route = f"{scope['method']} {scope['path']}"[:_MAX_ROUTE_CHARS]
        exchange = Exchange(send, route=route, wants_msgpack=wants_msgpack)
        try:
            self._check_caller(scope, headers)
            deadline = self._deadline(headers)
            if scope["path"] in REQUESTS and scope["method"] == "POST":
                self._runtime.refuse_early()
            asked = await self._asked(scope, headers, receive, deadline=deadline)
            _CALL.set(
                Call(deadline=deadline, wants_msgpack=wants_msgpack, num_items=asked.num_items)
            )
            inner_headers = json_headers(headers, num_bytes=len(asked.body))
            inner = {**scope, "headers": inner_headers, REQUEST: asked.request}
            await exchange.run(self._app, inner, body=asked.body, receive=receive)
        # What a library lets through is worded by the table too.
        except Exception as raised:  # noqa: BLE001  (logged by `service_error`)
            error = service_error(raised)
            if isinstance(error, InvalidRequestError | TooLargeError):
                logger.info("%s: refused a request: %s", self._runtime.kind, error.code)
            await exchange.fail(error)
        finally:
            if scope["path"] in COUNTED_PATHS:
                metrics().count_request(
                    surface="rest",
                    method=scope["path"].removeprefix("/v1/"),
                    code=exchange.code,
                    elapsed_s=time.perf_counter() - began,
                )

    async def _asked(
        self, scope: Scope, headers: Headers, receive: Receive, *, deadline: float
    ) -> _Asked:
        """Returns what a body asks for; routes that take none get none, and none is waited for."""
        settings = self._runtime.settings
        max_items = settings.max_request_items
        path = scope["path"] if scope["method"] == "POST" else ""
        if path != CHAT_PATH and path not in REQUESTS:
            return _Asked()
        max_bytes = settings.max_body_bytes
        if path == CHAT_PATH:
            max_bytes = min(max_bytes, chat_requests.MAX_BODY_BYTES)
        limits = BodyLimits(
            max_bytes=max_bytes, max_values=max_values(max_items), deadline=deadline
        )
        with self._runtime.started.parts.admission.receive() as take:
            body = await read_body(headers, receive, limits=limits, take=take)
            if (schema := REQUESTS.get(path)) is not None:
                return _Asked(request=await validated(body, schema, max_items=max_items))
            chat = chat_requests.chat_request(await json_of(body, max_items=max_items))
        asked = chat.model_dump_json(exclude_unset=True).encode()
        return _Asked(body=asked, num_items=chat.n)

    def _check_caller(self, scope: Scope, headers: Headers) -> None:
        started = self._runtime.started
        started.keys.check(headers.get("authorization", ""))
        if started.keys.is_empty:
            refuse_foreign_page(headers.get("origin", ""))
            if not self._runtime.settings.allow_open:
                _check_loopback(scope)

    def _deadline(self, headers: Headers) -> float:
        stated = headers.get(DEADLINE_HEADER)
        deadline_ms = self._runtime.settings.default_deadline_ms
        if stated is not None:
            # The length first: `int` itself refuses thousands of digits.
            is_in_range = is_whole(stated) and len(stated) <= len(str(MAX_DEADLINE_MS))
            deadline_ms = int(stated) if is_in_range else 0
            if not 0 < deadline_ms <= MAX_DEADLINE_MS:
                raise InvalidRequestError(
                    f"{DEADLINE_HEADER} is {stated[:40]!r}; it takes a whole number of ms from 1 "
                    f"to {MAX_DEADLINE_MS}"
                )
        return asyncio.get_running_loop().time() + min(deadline_ms / 1e3, MAX_WAIT_S)


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
