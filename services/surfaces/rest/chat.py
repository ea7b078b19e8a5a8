"""The OpenAI-compatible routes of inner-llm: `/v1/chat/completions` and `/v1/models`.

vLLM's own handlers over the engine that answers rewrite and review; no other route of its server
is opened. Errors have OpenAI's shape. What a request may ask for is bounded before it comes here
(`services.engines.chat_requests`); the engine itself holds the length of completions and `n`, for streams that
nobody reads any more as well.
"""

from argparse import Namespace

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from vllm.entrypoints.openai.chat_completion.api_router import create_chat_completion
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.models.api_router import show_available_models
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.entrypoints.serve.exception_handling.register import init_exception_handler
from vllm.exceptions import VLLMError
from vllm.renderers.online_renderer import OnlineRenderer

from align2llava.services.engines.vllm_engine.llm import VllmEngine


def chat_app(engine: VllmEngine) -> FastAPI:
    """Returns the ASGI application of the two routes over a loaded engine."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.post("/v1/chat/completions", response_model=None)(create_chat_completion)
    app.get("/v1/models", response_model=None)(show_available_models)
    init_exception_handler(app)
    app.exception_handler(VLLMError)(_answered)
    _fill_state(app, engine)
    return app


def _fill_state(app: FastAPI, engine: VllmEngine) -> None:
    llm = engine.llm
    models = OpenAIServingModels(
        engine_client=llm,
        base_model_paths=[BaseModelPath(name=engine.identity.name, model_path="")],
    )
    renderer = OnlineRenderer(
        model_config=llm.model_config,
        renderer=llm.renderer,
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
    )
    app.state.args = Namespace(log_error_stack=False, sse_keep_alive_interval=0)
    app.state.engine_client = llm
    app.state.openai_serving_models = models
    app.state.openai_serving_chat = OpenAIServingChat(
        llm,
        models,
        "assistant",
        online_renderer=renderer,
        request_logger=None,
        chat_template=None,
        chat_template_content_format="auto",
    )


async def _answered(_request: Request, error: VLLMError) -> JSONResponse:
    # vLLM's own handler would also stop the HTTP server of a dead engine; readiness does that here.
    answer = create_error_response(error)
    return JSONResponse(answer.model_dump(), status_code=answer.error.code)
