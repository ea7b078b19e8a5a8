"""One REST request on its way through an ASGI app: good answers pass, bad ones are worded anew.

Stops the app when the caller goes away before the answer has begun. Knows no route and no model.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from align2llava.services.core.metrics import CANCELLED, OK
from align2llava.services.errors import DeadlineError, InvalidRequestError, ServiceError
from align2llava.services.surfaces.rest.bodies import JSON
from align2llava.services.surfaces.rest.errors import (
    code_of,
    error_of,
    error_response,
    is_table_body,
)

# No route, or not for this method: outside the table, worded as `invalid_request`.
_ROUTING_STATUSES = frozenset({404, 405})


class Exchange:
    """One request's answer: passes good ones on, words bad ones by the table."""

    def __init__(self, send: Send, *, route: str, wants_msgpack: bool) -> None:
        self._send = send
        self._route = route  # method and path
        self._wants_msgpack = wants_msgpack
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
            self.code = OK if status < 400 else code_of(status).value
            if status >= 400:
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
        headers = Headers(raw=start["headers"])
        content_type = headers.get("content-type", "")
        if is_table_body(body, content_type):
            await self._send(start)
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
            return
        is_routing = status in _ROUTING_STATUSES and JSON not in content_type
        error = self._no_route() if is_routing else error_of(status, body)
        response = error_response(error, wants_msgpack=self._wants_msgpack)
        if status in _ROUTING_STATUSES:
            response.status_code = status
        if "allow" in headers:
            response.headers["allow"] = headers["allow"]
        await self._respond(response)

    def _no_route(self) -> ServiceError:
        return InvalidRequestError(
            f"there is no route {self._route!r}; GET / names those there are"
        )

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
