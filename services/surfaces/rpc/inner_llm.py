"""The gRPC servicer of inner-llm: `Rewrite`, `Review`, `Likelihood`, `GetModel`."""

from align2llava.clients.wire import align2llava_pb2 as pb
from align2llava.clients.wire import align2llava_pb2_grpc as pb_grpc
from align2llava.clients.wire.schemas import LikelihoodRequest, ReviewRequest, RewriteRequest
from align2llava.services.core.aligning import AlignCore
from align2llava.services.process.lifecycle import Runtime
from align2llava.services.surfaces.rpc.surface import Context, Servicers, answered, model_answered


class InnerLLMServicer(pb_grpc.InnerLLMServicer):
    """Serves inner-llm."""

    def __init__(self, runtime: Runtime[AlignCore]) -> None:
        self._runtime = runtime

    async def Rewrite(self, request: pb.RewriteRequest, context: Context) -> pb.RewriteResponse:  # noqa: N802  (gRPC's name)
        """Answers one rewrite for each item."""
        return await answered(
            request,
            context,
            method="rewrite",
            schema=RewriteRequest,
            refuse_early=self._runtime.refuse_early,
            ask=lambda asked, deadline: self._runtime.core.rewrite(asked, deadline=deadline),
            answer=pb.RewriteResponse,
            settings=self._runtime.settings,
        )

    async def Review(self, request: pb.ReviewRequest, context: Context) -> pb.ReviewResponse:  # noqa: N802  (gRPC's name)
        """Answers one verdict for each item."""
        return await answered(
            request,
            context,
            method="review",
            schema=ReviewRequest,
            refuse_early=self._runtime.refuse_early,
            ask=lambda asked, deadline: self._runtime.core.review(asked, deadline=deadline),
            answer=pb.ReviewResponse,
            settings=self._runtime.settings,
        )

    async def Likelihood(  # noqa: N802  (gRPC's name)
        self, request: pb.LikelihoodRequest, context: Context
    ) -> pb.LikelihoodResponse:
        """Answers one likelihood for each item."""
        return await answered(
            request,
            context,
            method="likelihood",
            schema=LikelihoodRequest,
            refuse_early=self._runtime.refuse_early,
            ask=lambda asked, deadline: self._runtime.core.likelihood(asked, deadline=deadline),
            answer=pb.LikelihoodResponse,
            settings=self._runtime.settings,
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.ModelIdentity:  # noqa: ARG002, N802  (empty; gRPC's name)
        """Answers which model this is."""
        return await model_answered(lambda: self._runtime.core.identity, context)


def inner_llm_servicers(runtime: Runtime[AlignCore]) -> Servicers:
    """Returns the gRPC side of inner-llm."""
    servicer = InnerLLMServicer(runtime)
    return Servicers(
        names=(pb.DESCRIPTOR.services_by_name["InnerLLM"].full_name,),
        register=lambda server: pb_grpc.add_InnerLLMServicer_to_server(servicer, server),
        begin_drain=lambda: None,
    )
