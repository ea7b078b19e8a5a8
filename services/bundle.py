"""One Bento of all three services: a root that depends on them and has no routes of its own.

It is built and never served: a process serves one of the three, each with its own settings.
"""

import bentoml

from align2llava.services.answer_reward import AnswerReward
from align2llava.services.inner_llm import InnerLLM
from align2llava.services.question_reward import QuestionReward

_REFUSAL = (
    "the bundle is not served itself; serve one of the three, for example "
    "bentoml serve align2llava.services.question_reward:QuestionReward"
)


@bentoml.service(name="align2llava")
class Bundle:
    """Holds the three services together in one Bento."""

    question_reward = bentoml.depends(QuestionReward)
    answer_reward = bentoml.depends(AnswerReward)
    inner_llm = bentoml.depends(InnerLLM)

    @bentoml.on_deployment
    @staticmethod
    def refuse() -> None:
        """Refuses to be served."""
        raise SystemExit(_REFUSAL)
