"""The question-reward service: f(image, all human turns of a record), over REST and gRPC.

`bentoml serve align2llava.services.question_reward:QuestionReward`
"""

import bentoml
from starlette.responses import Response

from align2llava.clients.wire.schemas import ScoreRequest, ScoreResponse
from align2llava.services.core.scoring import ScoreCore
from align2llava.services.loading import load_question_reward
from align2llava.services.process.hosting import HostedService
from align2llava.services.process.lifecycle import Runtime
from align2llava.services.surfaces.rest.own_routes import model_app
from align2llava.services.surfaces.rest.surface import RestSurface, answer
from align2llava.services.surfaces.rpc.reward import question_servicers
from align2llava.services.surfaces.rpc.surface import grpc_surface

RUNTIME: Runtime[ScoreCore] = Runtime(
    "question-reward", load=load_question_reward, surface=grpc_surface(question_servicers)
)


@bentoml.service(
    name="question-reward",
    service_class=HostedService,
    workers=1,
    logging={"access": {"enabled": False}},  # requests are counted in /metrics
    http={"host": "127.0.0.1", "port": 3001},  # pyright: ignore[reportArgumentType]  (it takes text too)
)
@bentoml.asgi_app(model_app(RUNTIME), path="/")
class QuestionReward:
    """Scores questions about images; one request holds groups of one image and many candidates."""

    @bentoml.on_deployment
    @staticmethod
    def check() -> None:
        """Refuses to start on settings that do not allow it."""
        RUNTIME.check_settings()

    @bentoml.on_startup
    async def start(self) -> None:
        """Opens gRPC and begins to load the model."""
        await RUNTIME.start()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Answers what was accepted, then stops."""
        await RUNTIME.stop()

    async def __is_ready__(self) -> bool:
        return RUNTIME.is_ready

    async def __is_alive__(self) -> bool:
        return RUNTIME.is_alive

    @bentoml.api(route="/v1/score", output_spec=ScoreResponse)  # pyright: ignore[reportArgumentType]  (any pydantic model will do)
    async def score(self, request: ScoreRequest, /) -> Response:
        """Returns a reward, higher is better, or an error for each item, in order."""
        return await answer(lambda deadline: RUNTIME.core.score(request, deadline=deadline))


QuestionReward.add_asgi_middleware(RestSurface, runtime=RUNTIME)  # pyright: ignore[reportArgumentType]  (its protocol is of functions)
