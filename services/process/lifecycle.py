"""The life of one service process: settings, door, gRPC server, model; ready, draining, stopped.

The model loads in the background, so that probes are answered meanwhile. SIGTERM closes the door
at once; what was accepted over either surface is answered before the process stops.
"""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType
from typing import Generic, Protocol, TypeVar

from starlette.types import ASGIApp

from align2llava.clients.wire.kinds import ServiceKind
from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.clients.wire.wording import one_line
from align2llava.services.auth import KeyRing, load_keys, refuse_open
from align2llava.services.core.admission import Admission
from align2llava.services.core.metrics import Metrics, metrics
from align2llava.services.errors import ServiceError, UnavailableError
from align2llava.services.process import supervisor
from align2llava.services.process.hosting import refuse_certificates
from align2llava.services.process.keeper import Keeper
from align2llava.services.process.log_lines import keep_plain
from align2llava.services.process.machine import refuse_machine
from align2llava.services.process.readiness import Answering, Readiness
from align2llava.services.process.surface import Surface
from align2llava.services.settings import (
    Settings,
    SettingsError,
    is_set,
    load_settings,
    refuse_uninstalled,
)

logger = logging.getLogger(__name__)

# How long a thread that parses or decodes keeps the interpreter to itself once the event loop wants it. Python's
# 5 ms is waited for at each of the some twenty turns of a request.
_SWITCH_S = 0.0005
_LOADING_RETRY_MS = 1_000
_WATCH_S = 1.0
_STOP_S = 30.0  # beside the drain; vLLM's core has 20 s of it
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Phase(StrEnum):
    """Where a process stands."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Core(Answering, Protocol):
    """What a loaded model answers with, whatever its kind."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model answers."""
        ...

    def refuse_early(self) -> None:
        """Refuses any request, before it is parsed, where there is no room for more work."""
        ...

    async def aclose(self) -> None:
        """Stops."""
        ...


C = TypeVar("C", bound=Core)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a core is built from."""

    settings: Settings
    executor: ThreadPoolExecutor  # the one device thread
    admission: Admission
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel(Generic[C]):
    """A core, and the routes its engine brings along."""

    core: C
    app: ASGIApp | None = None


class Runtime(Generic[C]):
    """The state of a service process. Inert until `start`; made at import by each shell."""

    def __init__(
        self,
        kind: ServiceKind,
        *,
        load: Callable[[Parts], Awaitable[LoadedModel[C]]],
        surface: "Callable[[Runtime[C], Settings, KeyRing], Surface]",
    ) -> None:
        self.kind: ServiceKind = kind
        self._load_core = load
        self._surface_of = surface
        self._phase = Phase.LOADING
        self._failure = ""  # why the model did not load
        self._loaded: LoadedModel[C] | None = None
        self._readiness: Readiness | None = None  # of what is loaded
        self._started: Started | None = None
        self._load_task: asyncio.Task[None] | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._previous_handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def check_settings(self) -> None:
        """Refuses, before any worker starts, settings that this service cannot run with.

        Raises:
            SystemExit: says which variable and why.
        """
        try:
            settings = load_settings(self.kind)
            refuse_uninstalled(settings)
            refuse_machine(settings)
            refuse_certificates(settings)
            keys = _keys(settings)
            hosts = supervisor.stated_hosts()
            refuse_open(hosts, has_keys=not keys.is_empty, allow_open=settings.allow_open)
            supervisor.refuse_taken_ports(settings)
            supervisor.announce()
        except SettingsError as error:
            raise SystemExit(f"{self.kind} does not start: {error}") from None

    async def start(self) -> None:
        """Reads the settings, opens gRPC and begins to load the model.

        Where that fails, the supervisor that would start this process again for ever is ended too.

        Raises:
            SettingsError: the settings do not allow this process to serve.
        """
        # BentoML shows what reaches the root.
        logging.getLogger("align2llava.services").setLevel(logging.INFO)
        keep_plain()
        sys.setswitchinterval(_SWITCH_S)
        try:
            await self._start()
        except Exception as error:
            logger.error("%s does not start: %s", self.kind, error)  # noqa: TRY400  (one line)
            supervisor.end()
            raise

    async def _start(self) -> None:
        settings = load_settings(self.kind)
        keeper = None
        if supervisor.is_here():
            grace_s = settings.drain_ms / 1e3 + _STOP_S
            keeper = Keeper.start(supervisor=supervisor.pid(), grace_s=grace_s)
        keys = _keys(settings)
        hosts = supervisor.listening_hosts()
        refuse_open(hosts, has_keys=not keys.is_empty, allow_open=settings.allow_open)
        instruments = metrics()
        parts = Parts(
            settings=settings,
            executor=ThreadPoolExecutor(1, thread_name_prefix="device"),
            admission=Admission(
                max_items=settings.max_queue_items,
                max_bytes=settings.max_queue_bytes,
                on_change=instruments.set_queue,
            ),
            metrics=instruments,
        )
        surface = self._surface_of(self, settings, keys)
        port = await surface.start(hosts[0] if hosts else "127.0.0.1")
        self._phase = Phase.LOADING
        self._started = Started(parts=parts, keys=keys, surface=surface, grpc_port=port)
        self._chain_signals()
        self._load_task = asyncio.create_task(self._load(parts, surface))
        self._watch_task = asyncio.create_task(self._watch(surface, keeper))
        logger.info("%s: gRPC on port %d; loading %s", self.kind, port, settings.engine)

    @property
    def started(self) -> "Started":
        """What `start` made.

        Raises:
            UnavailableError: the process has not started, or has stopped.
        """
        if self._started is None:
            raise UnavailableError("the service is not running")
        return self._started

    @property
    def settings(self) -> Settings:
        """The settings this process started with; raises as `started` does."""
        return self.started.parts.settings

    @property
    def core(self) -> C:
        """The core, where it may be asked now.

        Raises:
            UnavailableError: the model is loading, failed to load, died, or the service drains.
        """
        return self.loaded.core

    def refuse_early(self) -> None:
        """Refuses any request, before it is parsed, where it cannot be taken now.

        Raises:
            ServiceError: there is no room for more work, or as `core` does.
        """
        self.core.refuse_early()

    @property
    def loaded(self) -> LoadedModel[C]:
        """The core and its routes, where they may be asked now; raises as `core` does."""
        if self._loaded is None or self._phase is not Phase.READY:
            failure = f": {self._failure}" if self._failure else ""
            is_loading = self._phase is Phase.LOADING  # who asks may wait
            raise UnavailableError(
                f"the service is not ready: {self._phase}{failure}",
                retry_after_ms=_LOADING_RETRY_MS if is_loading else 0,
            )
        if not self._loaded.core.is_running:
            raise UnavailableError("the engine has stopped; the service must be restarted")
        return self._loaded

    @property
    def is_ready(self) -> bool:
        """Whether requests are welcome now, and would be answered."""
        is_answering = self._readiness is not None and self._readiness.is_ready
        return self._phase is Phase.READY and is_answering

    @property
    def is_alive(self) -> bool:
        """Whether the process can become or remain useful; if not, it should be restarted."""
        return self._phase is not Phase.FAILED and not self._is_hopeless()

    def _is_hopeless(self) -> bool:
        return self._readiness is not None and self._readiness.is_hopeless

    async def _watch(self, surface: Surface, keeper: Keeper | None) -> None:
        """Has gRPC's health say what `/readyz` says, and the process end where only a restart helps.

        Without a keeper there is nobody to start it again.
        """
        told = None
        while not (self._is_hopeless() or (keeper is not None and keeper.has_ended)):
            if self._phase is Phase.READY and told != self.is_ready:
                told = self.is_ready
                await surface.set_serving(is_serving=told)
            if told is False and self._readiness is not None:
                await self._readiness.settle()
            await asyncio.sleep(_WATCH_S)
        await surface.set_serving(is_serving=False)
        if keeper is not None:
            why = "its keeper was killed" if keeper.has_ended else "only a restart helps"
            logger.error("%s: %s; this process ends", self.kind, why)
            keeper.end_worker()

    async def _load(self, parts: Parts, surface: Surface) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit_s = parts.settings.load_timeout_s
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                self._loaded = loaded = await self._load_core(parts)  # to be closed, whatever comes
                await loaded.core.warm_up()
                self._readiness = Readiness(loaded.core, parts.admission, patience_s=limit_s)
        # A load can fail in any library; the process then says so and reports itself dead.
        except Exception as error:
            self._phase = Phase.FAILED
            self._failure = (
                f"it did not load and answer within {limit_s} s (A2L_LOAD_TIMEOUT_S)"
                if limit.expired()
                else one_line(error)
            )
            # Our own errors tell all on one line; of others the place is worth knowing.
            trace = None if limit.expired() or isinstance(error, ServiceError) else error
            logger.error(  # noqa: TRY400  (see above)
                "%s: the model did not load; this service cannot answer: %s",
                self.kind,
                self._failure,
                exc_info=trace,
            )
            return
        if self._phase is Phase.LOADING:
            self._phase = Phase.READY
            await surface.set_serving(is_serving=True)
        elapsed_s = loop.time() - began
        parts.metrics.load_seconds.set(elapsed_s)
        self._tell_ready(loaded.core.identity, elapsed_s)

    def _tell_ready(self, identity: ModelIdentity, elapsed_s: float) -> None:
        logger.info(
            "%s: ready after %.1f s; model %s, identity %s, gRPC port %d",
            self.kind,
            elapsed_s,
            identity.name,
            identity.identity,
            self.started.grpc_port,
        )

    def _chain_signals(self) -> None:
        """Puts `begin_drain` before the handlers that the HTTP server has installed."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            previous = signal.getsignal(number)
            if callable(previous):
                self._previous_handlers[number] = previous
                signal.signal(number, self._handler(loop, previous))

    def _handler(
        self,
        loop: asyncio.AbstractEventLoop,
        previous: Callable[[int, FrameType | None], object],
    ) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.begin_drain)
            previous(number, frame)

        return handle

    def begin_drain(self) -> None:
        """Stops being ready and refuses new requests; those accepted go on. From the loop only."""
        if self._started is None or self._phase is Phase.DRAINING:
            return
        logger.info("%s: draining %d items", self.kind, self._started.parts.admission.num_items)
        self._phase = Phase.DRAINING
        self._started.parts.admission.close()
        self._started.surface.begin_drain()

    async def stop(self) -> None:
        """Answers what was accepted, then stops everything; the HTTP side is drained already."""
        if self._started is None:
            return
        started = self._started
        self.begin_drain()
        try:
            async with asyncio.timeout(started.parts.settings.drain_ms / 1e3):
                await started.parts.admission.drained()
        except TimeoutError:
            logger.exception(
                "%s: %d items unanswered after %d ms",
                self.kind,
                started.parts.admission.num_items,
                started.parts.settings.drain_ms,
            )
        await started.surface.stop()
        for task in (self._load_task, self._watch_task):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._loaded is not None:
            await self._loaded.core.aclose()
        started.parts.executor.shutdown(wait=False, cancel_futures=True)
        for number, previous in self._previous_handlers.items():
            signal.signal(number, previous)
        self._previous_handlers.clear()
        self._loaded = None
        self._readiness = None
        self._started = None
        logger.info("%s: stopped", self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a process that has started consists of, beside its model."""

    parts: Parts
    keys: KeyRing
    surface: Surface
    grpc_port: int


def _keys(settings: Settings) -> KeyRing:
    return load_keys(settings.api_keys_file) if is_set(settings.api_keys_file) else KeyRing([])
