"""The torch reward engine: scores groups as token trees with one reward model. Knows no transport.

A group is one tree: image, then questions, then answers, each shared beginning computed once.
Shapes: A position axes, T places, R rows, P image tokens, D hidden size.
"""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from align2llava.clients.wire.kinds import RewardKind
from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.services.engines.api import GroupScore, PlacedTree, PreparedGroup, RewardGroup
from align2llava.services.engines.reward_rows import (
    LongText,
    identity_on,
    outcome_of,
    refuse_other_kind,
    row_of,
)
from align2llava.services.engines.torch_engine.allocation import keep_freed_memory
from align2llava.services.engines.torch_engine.device_time import DeviceTime, started
from align2llava.services.engines.torch_engine.features import FeatureCache
from align2llava.services.errors import ServiceError, TooLargeError
from align2llava.services.reward_model.families import LoadedModel, load_model
from align2llava.services.reward_model.llava.checkpoint import DTYPES
from align2llava.services.reward_model.tokens.inputs import (
    ImageInput,
    TokenRow,
)
from align2llava.services.reward_model.tree.kernels import attention_for
from align2llava.services.reward_model.tree.tree import joined, merge, parted

IMAGES_AT_ONCE = (
    16  # on an accelerator; on CPU one, so that features are the same bits in any batch
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What the engine may spend, and what it does with texts beyond the model's context."""

    max_batch_tokens: int  # larger groups are computed in parts
    max_feature_bytes: int
    long_text: LongText


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """One tree of a batch, and where its rewards belong."""

    group: PreparedGroup
    place: int  # of the group in the batch
    placed: PlacedTree
    features_PD: Tensor | None


class TorchRewardEngine:
    """A `RewardEngine` in torch; every forward runs in the thread that calls `launch`."""

    def __init__(
        self, loaded: LoadedModel, *, device: str, dtype: str, limits: EngineLimits
    ) -> None:
        self._loaded = loaded
        self._device = torch.device(device)
        self._limits = limits
        self._features = FeatureCache(max_bytes=limits.max_feature_bytes)
        self._attention = attention_for(self._device, DTYPES[dtype])
        loaded.model.pack(self._attention)
        self._identity = identity_on(
            _engine_name(self._attention.name),
            loaded.file,
            identity=loaded.identity,
            weights_sha256=loaded.weights_sha256,
            dtype=dtype,
            purpose=loaded.purpose,
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
        limits: EngineLimits,
    ) -> "TorchRewardEngine":
        """Returns the engine of a model folder.

        `num_threads` is torch's thread count for the whole process; rewards are bit-identical
        only between equal counts.

        Raises:
            CheckpointError: the folder does not fit the layout, or holds the other kind.
        """
        torch.set_num_threads(num_threads)
        if torch.device(device).type == "cpu":
            keep_freed_memory()
        loaded = load_model(model_dir, device=device, dtype=dtype)
        refuse_other_kind(loaded.file, kind=kind, folder=model_dir)
        return cls(loaded, device=device, dtype=dtype, limits=limits)

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    def prepare(self, group: RewardGroup) -> PreparedGroup:
        """Returns a group tokenised, resized and merged into trees; see `RewardEngine.prepare`."""
        inputs = self._loaded.inputs
        image = None if group.image is None else inputs.image(group.image)
        rows = tuple(
            row_of(
                candidate,
                file=self._loaded.file,
                encode=lambda prompt: inputs.row(prompt, image),
                long_text=self._limits.long_text,
            )
            for candidate in group.candidates
        )
        good = [place for place, row in enumerate(rows) if isinstance(row, TokenRow)]
        trees = tuple(self._trees(rows, good, image)) if good else ()
        return PreparedGroup(
            rows=rows,
            image=image,
            image_key=group.image_key,
            trees=trees,
            num_tokens=sum(placed.tree.num_tokens for placed in trees),
        )

    def _trees(
        self, rows: Sequence[TokenRow | ServiceError], good: list[int], image: ImageInput | None
    ) -> list[PlacedTree]:
        found = [row for row in rows if isinstance(row, TokenRow)]
        parts = parted([row.ids for row in found], max_tokens=self._limits.max_batch_tokens)
        return [
            self._placed([found[row] for row in part], tuple(good[row] for row in part), image)
            for part in parts
        ]

    def _placed(
        self, rows: Sequence[TokenRow], candidates: tuple[int, ...], image: ImageInput | None
    ) -> PlacedTree:
        tree = merge([row.ids for row in rows], min_shared=self._attention.min_shared)
        positions_AT = self._loaded.inputs.positions(tree, rows, image)
        return PlacedTree(tree=tree, positions_AT=positions_AT, candidates=candidates)

    def launch(self, groups: Sequence[PreparedGroup]) -> Callable[[], list[GroupScore]]:
        """Starts to compute and returns what waits for the scores; see `RewardEngine.launch`."""
        clock = started(self._device)
        with torch.inference_mode():
            jobs = self._jobs(groups)
            outcomes = self._computed(jobs)
        clock.stop()
        return lambda: _scores(groups, outcomes, clock)

    def _jobs(self, groups: Sequence[PreparedGroup]) -> list[_Job]:
        features = self._features_of(groups)
        return [
            _Job(group=group, place=place, placed=placed, features_PD=features[place])
            for place, group in enumerate(groups)
            for placed in group.trees
        ]

    def _features_of(self, groups: Sequence[PreparedGroup]) -> list[Tensor | None]:
        """Returns each group's image features; an image that several groups share is encoded once."""
        held: dict[str, Tensor] = {}
        wanted: dict[str, ImageInput] = {}
        for place, group in enumerate(groups):
            if group.image is None or not group.trees:
                continue
            key = _key(group, place)
            found = self._features.find(key)
            if found is None:
                wanted[key] = group.image
            else:
                held[key] = found
        at_once = 1 if self._device.type == "cpu" else IMAGES_AT_ONCE
        for start in range(0, len(wanted), at_once):
            keys = list(wanted)[start : start + at_once]
            features = self._loaded.model.features([wanted[key] for key in keys])
            held |= dict(zip(keys, features, strict=True))
        for key in wanted:
            if not key.startswith(_UNKNOWN):
                self._features.keep(key, held[key])
        return [held.get(_key(group, place)) for place, group in enumerate(groups)]

    def _computed(self, jobs: list[_Job]) -> "list[tuple[_Job, Tensor | ServiceError]]":
        """Returns each job's rewards. Out of memory, jobs run alone, then rows; the last is refused."""
        try:
            return list(zip(jobs, self._forward(jobs), strict=True))
        except torch.OutOfMemoryError:
            pass  # outside the handler, which would hold the failed forward's tensors
        self._free_memory()
        smaller = jobs if len(jobs) > 1 else _rows_alone(jobs[0], self._placed)
        if len(smaller) == 1:
            refusal = TooLargeError(
                f"a sequence of {smaller[0].placed.tree.num_tokens} tokens "
                "does not fit the device's memory"
            )
            return [(smaller[0], refusal)]
        return [outcome for job in smaller for outcome in self._computed([job])]

    def _free_memory(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _forward(self, jobs: list[_Job]) -> list[Tensor]:
        """Returns the rewards of each job's tree: one forward for all, or one each."""
        if not self._attention.joins_trees or len(jobs) < 2:
            return [reward for job in jobs for reward in self._forward_joined([job])]
        return self._forward_joined(jobs)

    def _forward_joined(self, jobs: list[_Job]) -> list[Tensor]:
        trees = [job.placed.tree for job in jobs]
        reward_R = self._loaded.model.tree_rewards(
            joined(trees),
            np.concatenate([job.placed.positions_AT for job in jobs], axis=1),
            [job.features_PD for job in jobs],
        )
        return list(reward_R.split([len(tree.lasts_R) for tree in trees]))


_UNKNOWN = "#"  # no hash begins so


def _key(group: PreparedGroup, place: int) -> str:
    return group.image_key or f"{_UNKNOWN}{place}"


def _rows_alone(
    job: _Job,
    placed: Callable[[Sequence[TokenRow], tuple[int, ...], ImageInput | None], PlacedTree],
) -> list[_Job]:
    """Returns a job for each of the tree's rows."""
    rows = [(place, job.group.rows[place]) for place in job.placed.candidates]
    return [
        _Job(
            group=job.group,
            place=job.place,
            placed=placed([row], (place,), job.group.image),
            features_PD=job.features_PD,
        )
        for place, row in rows
        if isinstance(row, TokenRow)
    ]


def _scores(
    groups: Sequence[PreparedGroup],
    outcomes: "Sequence[tuple[_Job, Tensor | ServiceError]]",
    clock: DeviceTime,
) -> list[GroupScore]:
    """Waits for the device and returns one score for each group."""
    found: list[dict[int, float | ServiceError]] = [{} for _ in groups]
    for job, outcome in outcomes:
        if isinstance(outcome, ServiceError):
            found[job.place] |= dict.fromkeys(job.placed.candidates, outcome)
        else:
            found[job.place] |= dict(zip(job.placed.candidates, outcome.tolist(), strict=True))
    num_tokens = sum(group.num_tokens for group in groups)
    ms_per_token = clock.elapsed_ms() / max(1, num_tokens)
    return [
        _score(group, rewards, device_ms=ms_per_token * group.num_tokens)
        for group, rewards in zip(groups, found, strict=True)
    ]


def _score(
    group: PreparedGroup, rewards: "dict[int, float | ServiceError]", *, device_ms: float
) -> GroupScore:
    rows = tuple(
        outcome_of(row, rewards.get(place), place=place) for place, row in enumerate(group.rows)
    )
    prefix = 0 if group.image is None or not group.trees else group.image.num_tokens + 1
    return GroupScore(
        rows=rows,
        prefix_tokens=prefix,
        suffix_tokens=group.num_tokens - prefix,
        device_ms=device_ms,
    )


def _engine_name(attention: str) -> str:
    version = importlib.metadata.version
    return f"torch {version('torch')} transformers {version('transformers')} {attention}"
