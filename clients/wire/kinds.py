"""The kinds of the services, as a `ModelIdentity` names them."""

from typing import Literal

RewardKind = Literal["question-reward", "answer-reward"]
ServiceKind = Literal["question-reward", "answer-reward", "inner-llm"]
