"""The routes beside BentoML's own: `/`, `/docs.json`, `/v1/model`, and the engine's chat routes if any."""

import asyncio
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.services.errors import DeadlineError, InvalidRequestError, ServiceError
from align2llava.services.process.lifecycle import Core, Runtime
from align2llava.services.surfaces.rest.errors import error_response
from align2llava.services.surfaces.rest.examples import DESCRIPTIONS, EXAMPLES
from align2llava.services.surfaces.rest.front_page import HEADERS, READY, Standing, origin_of, page
from align2llava.services.surfaces.rest.openapi import document
from align2llava.services.surfaces.rest.surface import answer, current_call

C = TypeVar("C", bound=Core)


def model_app(runtime: Runtime[C]) -> Starlette:
    """Returns an app of the routes that every service has, for mounting."""
    return _app(_own_routes(runtime))


def chat_mount(runtime: Runtime[C]) -> Starlette:
    """Returns the same with the OpenAI-compatible routes."""
    chat = _EngineRoutes(runtime)
    return _app(
        [
            *_own_routes(runtime),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", chat, methods=["GET"]),
        ]
    )


def _app(routes: list[Route]) -> Starlette:
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False  # to where the Host header says
    return app


def _own_routes(runtime: Runtime[C]) -> list[Route]:
    kind = runtime.kind

    async def identity(_deadline: float) -> ModelIdentity:
        return runtime.core.identity

    async def model(_request: Request) -> Response:
        return await answer(identity)

    async def docs(_request: Request) -> Response:
        return JSONResponse(document(kind, description=DESCRIPTIONS[kind]))

    async def front(request: Request) -> Response:
        scheme: str = request.scope["scheme"]
        host, port = request.scope.get("server") or ("127.0.0.1", 80)
        origin = origin_of(
            scheme, request.headers.get("host", ""), otherwise=f"{scheme}://{host}:{port}"
        )
        html = page(_standing(runtime), EXAMPLES[kind], origin=origin)
        return HTMLResponse(html, headers=HEADERS)

    return [
        Route("/", front, methods=["GET"]),
        Route("/docs.json", docs, methods=["GET"]),
        Route("/v1/model", model, methods=["GET"]),
    ]


def _standing(runtime: Runtime[C]) -> Standing:
    state, model = READY, ""
    try:
        identity = runtime.core.identity
        model = f"{identity.name} {identity.identity} {identity.dtype} {identity.engine}"
    except ServiceError as error:
        state = error.message
    return Standing(
        kind=runtime.kind,
        description=DESCRIPTIONS[runtime.kind],
        state=state,
        model=model,
        grpc_port=runtime.started.grpc_port,
        needs_key=not runtime.started.keys.is_empty,
    )


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
        call = current_call()
        with admission.admit(num_items=call.num_items, num_bytes=0, kind="chat"):
            try:
                async with asyncio.timeout_at(call.deadline):
                    await app(scope, receive, send)
            except TimeoutError:
                raise DeadlineError("the deadline passed before the answer was done") from None
