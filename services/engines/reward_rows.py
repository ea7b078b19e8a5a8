"""What all reward engines share: kind and identity, candidates as rows, rewards as outcomes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.services.engines.api import Candidate, RowReward
from align2llava.services.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    TooLargeError,
)
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import RewardFile
from align2llava.services.reward_model.tokens.inputs import (
    EmptyTextError,
    LongTextError,
    TokenRow,
    prompt_of,
)

LongText = Literal["truncate", "refuse"]


def refuse_other_kind(file: RewardFile, *, kind: RewardKind, folder: Path) -> None:
    """Refuses a model of the other kind than the service's.

    Raises:
        CheckpointError: it is of the other kind.
    """
    if file.kind != kind:
        raise CheckpointError(f"{folder} holds the model of {file.kind}; this service needs {kind}")


def identity_on(
    engine: str,
    file: RewardFile,
    *,
    identity: str,
    weights_sha256: str,
    dtype: str,
    purpose: str,
) -> ModelIdentity:
    """Returns what the service says of its model, computed by `engine`; `purpose` is its card's."""
    return ModelIdentity(
        name=file.name,
        kind=file.kind,
        identity=identity,
        weights_sha256=weights_sha256,
        dtype=dtype,
        template_version=file.prompt_version,
        engine=engine,
        purpose=purpose,
    )


def row_of(
    candidate: Candidate,
    *,
    file: RewardFile,
    encode: Callable[[str], TokenRow],
    long_text: LongText,
) -> TokenRow | ServiceError:
    """Returns a candidate's row, or why it cannot be scored; `encode` turns its prompt into the row."""
    try:
        row = encode(prompt_of(file.kind, candidate.questions, candidate.answer))
    except EmptyTextError as error:
        return InvalidRequestError(str(error))
    except LongTextError as error:
        return TooLargeError(str(error))
    if row.truncated and long_text == "refuse":
        return TooLargeError(f"the item has more than {file.max_length} tokens, the model's limit")
    return row


def outcome_of(
    row: TokenRow | ServiceError, reward: float | ServiceError | None, *, place: int
) -> RowReward | ServiceError:
    """Returns what candidate `place` gets: its error, or its reward, which has to be finite."""
    if isinstance(row, ServiceError):
        return row
    if isinstance(reward, ServiceError):
        return reward
    if reward is None or not math.isfinite(reward):
        return InternalError(f"the model's reward of candidate {place} is {reward}, not finite")
    return RowReward(reward=reward, num_tokens=len(row.ids), truncated=row.truncated)
