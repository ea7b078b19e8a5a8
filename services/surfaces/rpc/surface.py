"""The gRPC surface: a `grpc.aio` server beside REST in the same process, health and reflection.

Translates messages and errors; what is asked goes to the core that REST asks too.
"""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message as ProtoMessage
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # pyright: ignore[reportAttributeAccessIssue]  (its stubs lack it)
from grpc_reflection.v1alpha import reflection
from pydantic import ValidationError

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire.codes import CODE_TRAILER, RETRY_AFTER_TRAILER, TABLE
from align2llava.clients.wire.convert import from_proto, to_proto
from align2llava.clients.wire.schemas import Message, ModelIdentity
from align2llava.services.auth import KeyRing
from align2llava.services.core.admission import MAX_WAIT_S
from align2llava.services.core.metrics import CANCELLED, OK, metrics
from align2llava.services.errors import (
    InvalidRequestError,
    ServiceError,
    error_body,
)
from align2llava.services.faults import described, service_error
from align2llava.services.settings import Settings, SettingsError, is_set
from align2llava.services.surfaces.counting import refuse_long
from align2llava.services.surfaces.rpc.decoding import Context, Decoding, Handler
from align2llava.services.surfaces.turns import in_turn

logger = logging.getLogger(__name__)

_HEALTH_PREFIX = "/grpc.health.v1.Health/"
_STOP_GRACE_S = 5.0
_WINDOW_BYTES = 2**19  # at a round trip of 1 ms within a cluster, 500 MB/s a call
_MIN_PING_INTERVAL_MS = 10_000
_MAX_NAME = 100  # characters of a method in an error

S = TypeVar("S", bound=Message)
A = TypeVar("A", bound=Message)
P = TypeVar("P", bound=ProtoMessage)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servicers:
    """What a service offers over gRPC."""

    names: tuple[str, ...]  # full names, for health and reflection
    register: Callable[[grpc.aio.Server], None]
    begin_drain: Callable[[], None]  # ends idle streams


def grpc_surface(
    servicers: Callable[[R], Servicers],
) -> Callable[[R, Settings, KeyRing], "GrpcSurface"]:
    """Returns what makes the surface of a runtime whose servicers are these."""
    return lambda runtime, settings, keys: GrpcSurface(
        servicers(runtime), settings=settings, keys=keys
    )


class GrpcSurface:
    """The server: one port, one process."""

    def __init__(self, servicers: Servicers, *, settings: Settings, keys: KeyRing) -> None:
        self._servicers = servicers
        self._settings = settings
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[_Door(keys, max_items=settings.max_request_items)],
            options=_options(settings),
        )
        self._drain_task: asyncio.Task[None] | None = None

    async def start(self, host: str) -> int:
        """Listens on `host` and returns the port.

        Raises:
            SettingsError: the port is taken.
        """
        self._servicers.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._servicers.names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._server)
        address = f"{_bracketed(host)}:{self._settings.grpc_port}"
        try:
            if is_set(self._settings.tls_cert_file):
                port = self._server.add_secure_port(address, _credentials(self._settings))
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(
                f"cannot listen on {address} for gRPC: the port is taken; A2L_GRPC_PORT chooses another"
            ) from error
        await self.set_serving(is_serving=False)
        await self._server.start()
        return port

    async def set_serving(self, *, is_serving: bool) -> None:
        """Tells the health service, for the whole server and each service."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        value = status.SERVING if is_serving else status.NOT_SERVING
        for name in ("", *self._servicers.names):
            await self._health.set(name, value)

    def begin_drain(self) -> None:
        """Says NOT_SERVING, and that no further requests are read from streams."""
        self._servicers.begin_drain()
        self._drain_task = asyncio.create_task(self.set_serving(is_serving=False))

    async def stop(self) -> None:
        """Stops; calls that are still open get a few seconds."""
        if self._drain_task is not None:
            await self._drain_task
        await self._server.stop(_STOP_GRACE_S)


class _Door(grpc.aio.ServerInterceptor):
    """Refuses calls without a key, reflection too (health is exempt); those of no method; garbage."""

    def __init__(self, keys: KeyRing, *, max_items: int) -> None:
        self._keys = keys
        self._decoding = Decoding(end=aborted, max_items=max_items)
        self._handlers: dict[str, Handler] = {}  # by method, of those that exist

    async def intercept_service(  # pyright: ignore[reportIncompatibleMethodOverride]  (ours are never generic)
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        if not method.startswith(_HEALTH_PREFIX):
            shown = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")
            try:
                self._keys.check(shown if isinstance(shown, str) else "")
            except ServiceError as error:
                return _refusing(error, TABLE[error.code].grpc_status)
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None:
                error = InvalidRequestError(f"this service has no method {method[:_MAX_NAME]!r}")
                return _refusing(error, grpc.StatusCode.UNIMPLEMENTED)
            self._handlers[method] = self._decoding.of(handler, method)
        return self._handlers[method]


def _refusing(error: ServiceError, status: grpc.StatusCode) -> Handler:
    """Returns a handler that only answers `error`, whatever the shape of the call."""

    async def refuse(_requests: object, context: Context) -> None:
        await _ended(context, error, status)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def aborted(context: Context, error: ServiceError) -> None:
    """Ends a call with an error of the table; never returns."""
    await _ended(context, error, TABLE[error.code].grpc_status)


async def _ended(context: Context, error: ServiceError, status: grpc.StatusCode) -> None:
    body = error_body(error)
    trailers = [(CODE_TRAILER, body.code)]
    if body.retry_after_ms:
        trailers.append((RETRY_AFTER_TRAILER, str(body.retry_after_ms)))
    await context.abort(status, body.message, tuple(trailers))


async def answered(
    request: ProtoMessage,
    context: Context,
    *,
    method: str,
    schema: type[S],
    refuse_early: Callable[[], None],
    ask: Callable[[S, float], Awaitable[A]],
    answer: type[P],
    settings: Settings,
) -> P:
    """Answers one unary call: converts, asks with a deadline, converts back; or aborts."""
    began = time.perf_counter()
    code = CANCELLED
    try:
        refuse_early()
        deadline = deadline_of(context, settings.default_deadline_ms)
        asked = await parsed(request, schema, max_items=settings.max_request_items)
        message = to_proto(await ask(asked, deadline), answer)
        code = OK
        return message  # noqa: TRY300  (counted below)
    # A fault of ours too must reach the caller by the table, not as gRPC's UNKNOWN.
    except Exception as raised:
        error = service_error(raised)
        code = error.code.value
        await aborted(context, error)
        raise
    finally:
        elapsed_s = time.perf_counter() - began
        metrics().count_request(surface="grpc", method=method, code=code, elapsed_s=elapsed_s)


async def model_answered(
    identity: Callable[[], ModelIdentity], context: Context
) -> pb.ModelIdentity:
    """Answers `GetModel`, or aborts where no model is loaded."""
    try:
        return to_proto(identity(), pb.ModelIdentity)
    except ServiceError as error:
        await aborted(context, error)
        raise


async def parsed(request: ProtoMessage, schema: type[S], *, max_items: int) -> S:
    """Returns a message as a schema; a large one is worked on in a thread.

    Raises:
        InvalidRequestError: it does not fit.
        TooLargeError: one of its lists is longer than any request may be.
    """
    _refuse_crowd(request, max_items=max_items)
    try:
        return await in_turn(request.ByteSize(), from_proto, request, schema)
    except ValidationError as error:
        raise InvalidRequestError(described(error)) from error


def _refuse_crowd(request: ProtoMessage, *, max_items: int) -> None:
    """Accepts a message whose lists, and all lists in those, hold no more than may be answered."""
    level = [request]
    while level:
        lists = [
            (field.name, value)
            for message in level
            for field, value in message.ListFields()
            if field.is_repeated and field.message_type is not None
        ]
        if lists:
            num_listed = sum(len(listed) for _, listed in lists)
            refuse_long(num_listed, name=lists[0][0], limit=max_items)
        level = [one for _, listed in lists for one in listed]


def deadline_of(context: Context, default_ms: int) -> float:
    """Returns when a call must be done, on the event loop's clock."""
    remaining_s: float | None = context.time_remaining()
    loop = asyncio.get_running_loop()
    if remaining_s is None:  # pyright: ignore[reportUnnecessaryComparison]  (its stub forgets None)
        remaining_s = default_ms / 1e3
    return loop.time() + min(max(0.0, remaining_s), MAX_WAIT_S)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", settings.max_body_bytes),
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", settings.max_connection_age_ms),
        # The spelling `min_recv_...` is ignored by the server.
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # What a call may send before anybody reads it, known key or not; the library would let it grow to megabytes.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
    ]


def _credentials(settings: Settings) -> grpc.ServerCredentials:
    has_client_ca = is_set(settings.tls_client_ca_file)
    return grpc.ssl_server_credentials(
        [(settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())],
        root_certificates=settings.tls_client_ca_file.read_bytes() if has_client_ca else None,
        require_client_auth=has_client_ca,
    )


def _bracketed(host: str) -> str:
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_v6 = False
    return f"[{host}]" if is_v6 else host
