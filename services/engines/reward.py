"""The torch reward engine: scores groups with one LLaVA reward model. Knows no transport.

Shapes: B rows, T tokens, P image tokens, D hidden size.
"""

import importlib.metadata
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from clients.wire.schemas import ModelIdentity
from services.engines.api import (
    Candidate,
    GroupScore,
    RewardGroup,
    RewardKind,
    RowReward,
)
from services.errors import InternalError, InvalidRequestError, ServiceError, TooLargeError
from services.reward_model.batches import padded_rows
from services.reward_model.checkpoint import RewardCheckpoint, read_reward
from services.reward_model.inputs import EmptyTextError, LongTextError, TokenRow, prompt_of
from services.reward_model.pixels import pixels_CHW
from services.reward_model.weights import CheckpointError

# On CPU each row has a forward of its own: matrix kernels are chosen by shape, so only then is a
# reward the same bits whatever its batch mates. On an accelerator that would waste the device.
ROWS_PER_FORWARD = {"cpu": 1, "cuda": 32}


class TorchRewardEngine:
    """A `RewardEngine` in torch; every forward runs in the calling thread."""

    def __init__(
        self, checkpoint: RewardCheckpoint, *, device: str, dtype: str, rows_per_forward: int
    ) -> None:
        self._checkpoint = checkpoint
        self._device = torch.device(device)
        self._rows_per_forward = rows_per_forward
        self._identity = ModelIdentity(
            name=checkpoint.file.name,
            kind=checkpoint.file.kind,
            identity=checkpoint.identity,
            weights_sha256=checkpoint.weights_sha256,
            dtype=dtype,
            template_version=checkpoint.file.prompt_version,
            engine=_engine_name(),
        )

    @classmethod
    def load(
        cls, model_dir: Path, *, kind: RewardKind, device: str, dtype: str, num_threads: int
    ) -> "TorchRewardEngine":
        """Returns the engine of a model folder.

        `num_threads` is torch's thread count for the whole process; rewards are bit-identical
        only between equal counts.

        Raises:
            CheckpointError: the folder does not fit the layout, or holds the other kind.
        """
        torch.set_num_threads(num_threads)
        checkpoint = read_reward(model_dir, device=device, dtype=dtype)
        if checkpoint.file.kind != kind:
            raise CheckpointError(
                f"{model_dir} holds the model of {checkpoint.file.kind}; this service needs {kind}"
            )
        rows = ROWS_PER_FORWARD[torch.device(device).type]
        return cls(checkpoint, device=device, dtype=dtype, rows_per_forward=rows)

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    def score(self, groups: Sequence[RewardGroup]) -> list[GroupScore]:
        """Returns one score for each group, in order; see `RewardEngine.score`."""
        with torch.inference_mode():
            return [self._score_group(group) for group in groups]

    def _score_group(self, group: RewardGroup) -> GroupScore:
        started = time.perf_counter()
        has_image = group.image is not None
        encoded = [self._encode(candidate, has_image=has_image) for candidate in group.candidates]
        rows = {place: row for place, row in enumerate(encoded) if isinstance(row, TokenRow)}
        features_PD = None
        if group.image is not None and rows:
            features_PD = self._image_features(group.image)
        rewards: dict[int, float] = {}
        for places in _chunks(rows, size=self._rows_per_forward):
            reward_B = self._forward([rows[place] for place in places], features_PD)
            rewards |= dict(zip(places, reward_B.tolist(), strict=True))
        outcomes = tuple(
            _outcome(row, reward=rewards.get(place), place=place)
            for place, row in enumerate(encoded)
        )
        prefix = 0 if features_PD is None else features_PD.shape[0] + 1
        return GroupScore(
            rows=outcomes,
            prefix_tokens=prefix,
            suffix_tokens=sum(len(row.ids) - prefix for row in rows.values()),
            device_ms=(time.perf_counter() - started) * 1e3,
        )

    def _encode(self, candidate: Candidate, *, has_image: bool) -> TokenRow | ServiceError:
        kind = self._checkpoint.file.kind
        try:
            prompt = prompt_of(kind, candidate.questions, candidate.answer)
            return self._checkpoint.encoder.encode(prompt, has_image=has_image)
        except EmptyTextError as error:
            return InvalidRequestError(str(error))
        except LongTextError as error:
            return TooLargeError(str(error))

    def _image_features(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(pixels_CHW(image, self._checkpoint.pixels))
        pixels_GCHW = pixels.unsqueeze(0).to(self._device)
        return self._checkpoint.model.image_features(pixels_GCHW)[0]

    def _forward(self, rows: Sequence[TokenRow], features_PD: Tensor | None) -> Tensor:
        """Returns the rewards of right-padded rows that share an image, on the CPU, [B]."""
        ids_BT, mask_BT = padded_rows(rows, pad=self._checkpoint.encoder.special.pad)
        features_BPD = None
        if features_PD is not None:
            features_BPD = features_PD.unsqueeze(0).expand(len(rows), -1, -1)
        reward_B = self._checkpoint.model(
            ids_BT.to(self._device), mask_BT.to(self._device), features_BPD
        )
        return reward_B.cpu()


def _chunks(rows: dict[int, TokenRow], *, size: int) -> Iterator[list[int]]:
    """Yields the rows' places, at most `size` at once, rows of like length together."""
    places = sorted(rows, key=lambda place: len(rows[place].ids))
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _outcome(
    row: TokenRow | ServiceError, *, reward: float | None, place: int
) -> RowReward | ServiceError:
    if isinstance(row, ServiceError):
        return row
    if reward is None or not math.isfinite(reward):
        return InternalError(f"the model's reward of candidate {place} is {reward}, not finite")
    return RowReward(reward=reward, num_tokens=len(row.ids), truncated=row.truncated)


def _engine_name() -> str:
    version = importlib.metadata.version
    return f"torch {version('torch')} transformers {version('transformers')}"
