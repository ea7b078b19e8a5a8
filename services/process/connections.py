"""HTTP connections within bounds: how long a head may be and take, and how many there may be.

uvicorn reads heads and trailers of any length for as long as they come, before anyone looks at a
key. Knows no route; how long a body may take is its deadline's business.
"""

import asyncio
import logging
from typing import Any

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger(__name__)

# What may come in one go without a byte of a body: a head, the frames of chunks, trailers. Ten
# times what browsers and proxies send; one read of the socket (256 KiB at most) may come on top.
MAX_HEAD_BYTES = 64 * 1024
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
# From a connection's beginning, or the first byte that comes after an answer, to the end of the head.
HEAD_S = 10.0
# From an answer to the first byte of what comes next. Proxies keep a connection for 60 s, and would send a request into
# one that ends just then; where many are open, those that came last are not waited for so long.
IDLE_S = 75.0
CROWDED_IDLE_S = 5.0
# Each may hold a head and a part of a body; the usual limit of 1,024 open files must not be met.
MAX_CONNECTIONS = 768
CROWD = MAX_CONNECTIONS // 2


def bound_connections() -> None:
    """Makes uvicorn, which BentoML starts without saying how, take this module's protocol."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedProtocol.__name__}"


class BoundedProtocol(HttpToolsProtocol):
    """One connection; a head that is too long or too late ends it."""

    # Any: uvicorn's own signature is of types that it keeps to itself.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._num_head_bytes = 0  # since the last byte of a body, or the last end of a head
        self._limit: asyncio.TimerHandle | None = None
        self._is_idle = False  # everything is answered, and nothing came since

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Takes the connection, or closes it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            logger.info("closed a connection: %d are open", len(self.connections) - 1)
            transport.abort()
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of it."""
        self._drop_limit()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, as long as not too much comes that is no body."""
        self._num_head_bytes += len(data)
        if self._is_idle:
            self._expect_head()
        super().data_received(data)
        if self._num_head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            logger.info("closed a connection: a head of over %d bytes", MAX_HEAD_BYTES)
            if self._limit is not None:  # a head is awaited; else it would stand in an answer
                self.transport.write(_TOO_LONG)
            self._drop_limit()
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Begins a request."""
        self._num_head_bytes = 0
        self._drop_limit()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reads a part of a body."""
        self._num_head_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Waits for the next head, also where the rest of a refused body comes first."""
        self.timeout_keep_alive = IDLE_S if len(self.connections) <= CROWD else CROWDED_IDLE_S
        super().on_response_complete()
        self._is_idle = bool(self.cycle.response_complete)  # else the next request is here already

    def _expect_head(self) -> None:
        self._is_idle = False
        self._drop_limit()
        self._limit = self.loop.call_later(HEAD_S, self._drop)

    def _drop_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _drop(self) -> None:
        self._drop_limit()
        self.transport.abort()
