"""The vLLM reward engine: a LLaVA reward model in vLLM's pooling runner, prefixes shared by its cache.

Reads the torch engine's checkpoints, rows and pixels. Knows no transport. Importing it imports vLLM;
call `torchvision_operators.declare_operators` before.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import vllm

from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.services.engines.api import GroupScore, PreparedGroup, RewardGroup
from align2llava.services.engines.reward_rows import (
    LongText,
    identity_on,
    outcome_of,
    refuse_other_kind,
    row_of,
)
from align2llava.services.engines.vllm_engine.pooling import PoolingLimits, PoolingModel, prompts_of
from align2llava.services.errors import ServiceError
from align2llava.services.reward_model.card import read_purpose
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import (
    RewardFile,
    identity_of,
    read_config,
    read_encoder,
    read_pixels,
    read_reward_file,
)
from align2llava.services.reward_model.tokens.inputs import (
    ImageInput,
    RowEncoder,
    TextLimits,
    TokenRow,
)
from align2llava.services.reward_model.tokens.pixels import PixelSettings, pixels_CHW
from align2llava.services.reward_model.weight_files import refuse_other_weights, weight_files
from align2llava.services.reward_model.weights import sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmLimits:
    """What the engine may spend, and what it does with texts beyond the model's context."""

    max_batch_tokens: int
    long_text: LongText


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """What a checkpoint folder holds beside its weights."""

    file: RewardFile
    encoder: RowEncoder
    pixels: PixelSettings
    weights_sha256: str
    identity: str
    purpose: str


class VllmRewardEngine:
    """A `RewardEngine` on vLLM; it computes in the thread that calls `launch`.

    vLLM forms its own batches, so that a reward depends on its batch mates in the last bits (about
    1e-6 in float32).
    """

    def __init__(
        self, pooling: PoolingModel, folder: _Folder, *, dtype: str, long_text: LongText
    ) -> None:
        self._pooling = pooling
        self._folder = folder
        self._dtype = dtype
        self._long_text: LongText = long_text
        self._identity = identity_on(
            f"vllm {vllm.__version__}",
            folder.file,
            identity=folder.identity,
            weights_sha256=folder.weights_sha256,
            dtype=dtype,
            purpose=folder.purpose,
        )

    @classmethod
    def load(
        cls,
        model_dir: Path,
        *,
        kind: RewardKind,
        device: str,
        dtype: str,
        num_threads: int,
        limits: VllmLimits,
    ) -> "VllmRewardEngine":
        """Returns the engine of a model folder, in some 15 s; see `PoolingModel.load`.

        Raises:
            CheckpointError: the folder does not fit the layout, or holds the other kind.
        """
        folder = _read_folder(model_dir, dtype=dtype)
        refuse_other_kind(folder.file, kind=kind, folder=model_dir)
        pooling = PoolingModel.load(
            model_dir,
            device=device,
            dtype=dtype,
            num_threads=num_threads,
            limits=PoolingLimits(
                max_row_tokens=folder.file.max_length, max_batch_tokens=limits.max_batch_tokens
            ),
        )
        return cls(pooling, folder, dtype=dtype, long_text=limits.long_text)

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    @property
    def pooling(self) -> PoolingModel:
        """The running vLLM, for benchmarks."""
        return self._pooling

    def prepare(self, group: RewardGroup) -> PreparedGroup:
        """Returns a group tokenised and resized, without trees; see `RewardEngine.prepare`."""
        encoder, image = self._folder.encoder, None
        if group.image is not None:
            pixels = pixels_CHW(group.image, self._folder.pixels)
            image = ImageInput(pixels=pixels, num_tokens=encoder.num_image_tokens)
        rows = tuple(
            row_of(
                candidate,
                file=self._folder.file,
                encode=lambda prompt: encoder.encode(prompt, has_image=image is not None),
                long_text=self._long_text,
            )
            for candidate in group.candidates
        )
        return PreparedGroup(
            rows=rows,
            image=image,
            image_key=group.image_key,
            trees=(),
            num_tokens=_num_prefix(rows, image) + _num_suffix(rows, image),
        )

    def launch(self, groups: Sequence[PreparedGroup]) -> Callable[[], list[GroupScore]]:
        """Computes and returns what gives the scores; see `RewardEngine.launch`."""
        began_s = time.perf_counter()
        prompts = [
            prompt
            for group in groups
            for prompt in prompts_of(
                [row.ids for row in group.rows if isinstance(row, TokenRow)],
                group.image,
                image_key=group.image_key,
                dtype=self._dtype,
            )
        ]
        answers = iter(self._pooling.rewards(prompts))
        found = [_answers_of(group, answers) for group in groups]
        elapsed_ms = 1e3 * (time.perf_counter() - began_s)
        ms_per_token = elapsed_ms / max(1, sum(group.num_tokens for group in groups))
        scores = [
            _score(group, rewards, device_ms=ms_per_token * group.num_tokens)
            for group, rewards in zip(groups, found, strict=True)
        ]
        return lambda: scores


def _read_folder(folder: Path, *, dtype: str) -> _Folder:
    file = read_reward_file(folder)
    config = read_config(folder)
    limits = TextLimits(max_length=file.max_length, max_chars=file.max_chars)
    encoder = read_encoder(folder, config, limits)
    if file.max_length <= encoder.num_image_tokens + 1:
        raise CheckpointError(
            f"{folder}: max_length is {file.max_length}; an image alone takes "
            f"{encoder.num_image_tokens} tokens, and vLLM takes no part of an image"
        )
    pixels = read_pixels(folder, config, file.image_mode)
    refuse_other_weights(folder)
    weights_sha256 = sha256_of(weight_files(folder))
    identity = identity_of(
        file,
        folder=folder,
        weights_sha256=weights_sha256,
        dtype=f"{dtype} vllm",  # it rounds at other places: up to 4e-5 in float32, more in less
        pixels=pixels,
    )
    return _Folder(
        file=file,
        encoder=encoder,
        pixels=pixels,
        weights_sha256=weights_sha256,
        identity=identity,
        purpose=read_purpose(folder),
    )


def _answers_of(group: PreparedGroup, answers: Iterator[float]) -> list[float | None]:
    """Returns the next answers as rewards of the group's rows; None for a row with an error."""
    return [next(answers) if isinstance(row, TokenRow) else None for row in group.rows]


def _score(
    group: PreparedGroup, rewards: Sequence[float | None], *, device_ms: float
) -> GroupScore:
    pairs = zip(group.rows, rewards, strict=True)
    prefix = _num_prefix(group.rows, group.image)
    return GroupScore(
        rows=tuple(
            outcome_of(row, reward, place=place) for place, (row, reward) in enumerate(pairs)
        ),
        prefix_tokens=prefix,
        suffix_tokens=group.num_tokens - prefix,
        device_ms=device_ms,
    )


def _num_prefix(rows: Sequence[TokenRow | ServiceError], image: ImageInput | None) -> int:
    """Returns how many tokens the image and what precedes it take, 0 where nothing is computed."""
    has_rows = any(isinstance(row, TokenRow) for row in rows)
    return image.num_tokens + 1 if image is not None and has_rows else 0


def _num_suffix(rows: Sequence[TokenRow | ServiceError], image: ImageInput | None) -> int:
    """Returns how many tokens the rows have behind the prefix."""
    prefix = _num_prefix(rows, image)
    return sum(len(row.ids) - prefix for row in rows if isinstance(row, TokenRow))
