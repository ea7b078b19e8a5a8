"""The question-reward service: f(image, all human turns of a record), over REST and gRPC.

`bentoml serve align2llava.services.question_reward:QuestionReward`
"""

import bentoml

from align2llava.services.core.scoring import ScoreCore
from align2llava.services.loading import load_question_reward
from align2llava.services.process.lifecycle import Runtime
from align2llava.services.process.shell import hosted
from align2llava.services.reward_shell import RewardShell
from align2llava.services.surfaces.rest.own_routes import model_app
from align2llava.services.surfaces.rest.surface import RestSurface
from align2llava.services.surfaces.rpc.reward import question_servicers
from align2llava.services.surfaces.rpc.surface import grpc_surface

RUNTIME: Runtime[ScoreCore] = Runtime(
    "question-reward", load=load_question_reward, surface=grpc_surface(question_servicers)
)


@hosted("question-reward", port=3001)
@bentoml.asgi_app(model_app(RUNTIME), path="/")
class QuestionReward(RewardShell):
    """Scores questions about images; one request holds groups of one image and many candidates."""

    runtime = RUNTIME


QuestionReward.add_asgi_middleware(RestSurface, runtime=RUNTIME)  # pyright: ignore[reportArgumentType]  (its protocol is of functions)
