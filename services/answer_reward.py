"""The answer-reward service: g(image, question, answer), over REST and gRPC.

`bentoml serve align2llava.services.answer_reward:AnswerReward`
"""

import bentoml

from align2llava.services.core.scoring import ScoreCore
from align2llava.services.loading import load_answer_reward
from align2llava.services.process.lifecycle import Runtime
from align2llava.services.process.shell import hosted
from align2llava.services.reward_shell import RewardShell
from align2llava.services.surfaces.rest.own_routes import model_app
from align2llava.services.surfaces.rest.surface import RestSurface
from align2llava.services.surfaces.rpc.reward import answer_servicers
from align2llava.services.surfaces.rpc.surface import grpc_surface

RUNTIME: Runtime[ScoreCore] = Runtime(
    "answer-reward", load=load_answer_reward, surface=grpc_surface(answer_servicers)
)


@hosted("answer-reward", port=3002)
@bentoml.asgi_app(model_app(RUNTIME), path="/")
class AnswerReward(RewardShell):
    """Scores answers to questions; one request holds groups of one image and many candidates."""

    runtime = RUNTIME


AnswerReward.add_asgi_middleware(RestSurface, runtime=RUNTIME)  # pyright: ignore[reportArgumentType]  (its protocol is of functions)
