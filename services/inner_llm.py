"""The inner-llm service: rewrite, review, likelihood and chat, text only, over REST and gRPC.

`bentoml serve align2llava.services.inner_llm:InnerLLM`
"""

import bentoml
from starlette.responses import Response

from align2llava.clients.wire.schemas import (
    LikelihoodRequest,
    LikelihoodResponse,
    ReviewRequest,
    ReviewResponse,
    RewriteRequest,
    RewriteResponse,
)
from align2llava.services.core.aligning import AlignCore
from align2llava.services.loading import load_inner_llm
from align2llava.services.process.lifecycle import Runtime
from align2llava.services.process.shell import Shell, hosted
from align2llava.services.surfaces.rest.own_routes import chat_mount
from align2llava.services.surfaces.rest.surface import RestSurface, answer
from align2llava.services.surfaces.rpc.inner_llm import inner_llm_servicers
from align2llava.services.surfaces.rpc.surface import grpc_surface

RUNTIME: Runtime[AlignCore] = Runtime(
    "inner-llm", load=load_inner_llm, surface=grpc_surface(inner_llm_servicers)
)


@hosted("inner-llm", port=3003)
@bentoml.asgi_app(chat_mount(RUNTIME), path="/")
class InnerLLM(Shell):
    """The language model inside the MLLM: rewrites turns, reviews rewrites, tells likelihoods."""

    runtime = RUNTIME

    @bentoml.api(route="/v1/rewrite", output_spec=RewriteResponse)  # pyright: ignore[reportArgumentType]  (any pydantic model will do)
    async def rewrite(self, request: RewriteRequest, /) -> Response:
        """Returns one rewrite, unparsed completion or error for each item, in order."""
        return await answer(lambda deadline: self.runtime.core.rewrite(request, deadline=deadline))

    @bentoml.api(route="/v1/review", output_spec=ReviewResponse)  # pyright: ignore[reportArgumentType]  (any pydantic model will do)
    async def review(self, request: ReviewRequest, /) -> Response:
        """Returns one verdict, taken in both orders, or error for each item, in order."""
        return await answer(lambda deadline: self.runtime.core.review(request, deadline=deadline))

    @bentoml.api(route="/v1/likelihood", output_spec=LikelihoodResponse)  # pyright: ignore[reportArgumentType]  (any pydantic model will do)
    async def likelihood(self, request: LikelihoodRequest, /) -> Response:
        """Returns a negative log-likelihood, in nats, or an error for each item, in order."""
        return await answer(
            lambda deadline: self.runtime.core.likelihood(request, deadline=deadline)
        )


InnerLLM.add_asgi_middleware(RestSurface, runtime=RUNTIME)  # pyright: ignore[reportArgumentType]  (its protocol is of functions)
