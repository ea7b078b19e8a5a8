"""The routes beside BentoML's own: `GET /v1/model`, and the engine's chat routes where it has any."""

import asyncio
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clients.wire.schemas import ModelIdentity
from services.errors import DeadlineError, InvalidRequestError, ServiceError
from services.lifecycle import Core, Runtime
from services.rest import answer, current_call, error_response

C = TypeVar("C", bound=Core)


def model_app(runtime: Runtime[C]) -> Starlette:
    """Returns an app of `GET /v1/model`, for mounting."""
    return Starlette(routes=[_model_route(runtime)])


def chat_mount(runtime: Runtime[C]) -> Starlette:
    """Returns an app of `GET /v1/model` and the OpenAI-compatible routes, for mounting."""
    chat = _EngineRoutes(runtime)
    return Starlette(
        routes=[
            _model_route(runtime),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", chat, methods=["GET"]),
        ]
    )


def _model_route(runtime: Runtime[C]) -> Route:
    async def identity(_deadline: float) -> ModelIdentity:
        return runtime.core.identity

    async def model(_request: Request) -> Response:
        return await answer(identity)

    return Route("/v1/model", model, methods=["GET"])


class _EngineRoutes:
    """Passes requests on to the engine's own app; each takes its place at the door meanwhile."""

    def __init__(self, runtime: Runtime[C]) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def forward(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._pass_on(self._app(), scope, receive=receive, send=forward)
        except ServiceError as error:
            if is_begun:
                raise  # a stream is cut; it is too late for a status
            response = error_response(error, wants_msgpack=current_call().wants_msgpack)
            await response(scope, receive, send)

    def _app(self) -> ASGIApp:
        app = self._runtime.loaded.app
        if app is None:
            raise InvalidRequestError("this service's engine has no chat routes")
        return app

    async def _pass_on(self, app: ASGIApp, scope: Scope, *, receive: Receive, send: Send) -> None:
        admission = self._runtime.started.parts.admission
        with admission.admit(num_items=1, num_bytes=0):
            try:
                async with asyncio.timeout_at(current_call().deadline):
                    await app(scope, receive, send)
            except TimeoutError:
                raise DeadlineError("the deadline passed before the answer was done") from None
