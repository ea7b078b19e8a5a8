"""Trains one reward model: Bradley-Terry on preference groups, resumable, to a checkpoint folder."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn, optim

from align2llava.clients.wire.kinds import RewardKind
from align2llava.pipeline.errors import ConfigError, InputError, RunError, StoreError
from align2llava.pipeline.preferences.groups import PreferenceGroup
from align2llava.pipeline.preferences.readers import read_groups
from align2llava.pipeline.training.batches import BatchMaker, GroupBatch, groups_of_step
from align2llava.pipeline.training.config import PreferenceData, RewardTrainingConfig, fingerprint
from align2llava.pipeline.training.evaluate import accuracy_of_groups, rewards_of_batch
from align2llava.pipeline.training.loop import Training
from align2llava.pipeline.training.loss import pair_weights, pairwise_accuracy, preference_loss
from align2llava.pipeline.training.metrics import MetricsFile
from align2llava.pipeline.training.schedule import learning_rate
from align2llava.pipeline.training.snapshots import newest_snapshot
from align2llava.services.reward_model.card import write_card
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import (
    DTYPES,
    TOKENIZER_FILE,
    RewardFile,
    read_config,
    read_encoder,
    read_pixels,
    read_tokenizer,
)
from align2llava.services.reward_model.llava.export import write_reward
from align2llava.services.reward_model.llava.model import LlavaRewardModel
from align2llava.services.reward_model.tokens.inputs import TextLimits
from align2llava.services.reward_model.tokens.pixels import PixelSettings
from align2llava.services.reward_model.weight_files import weight_files
from align2llava.services.reward_model.weights import read_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a finished training gives."""

    out: Path
    steps: int
    test_accuracy: float  # of strictly ordered in-group pairs
    num_test_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Materials:
    """Everything a training reads, loaded and checked."""

    kind: RewardKind
    config: RewardTrainingConfig
    model: LlavaRewardModel
    pixels: PixelSettings
    train: list[PreferenceGroup]
    test: list[PreferenceGroup]
    train_maker: BatchMaker
    test_maker: BatchMaker
    fingerprint: str


def train_reward(kind: RewardKind, config: RewardTrainingConfig, *, resume: bool) -> TrainingResult:
    """Trains a reward model and writes its checkpoint folder.

    Equal config, data and base give equal weights on one machine, interrupted or not.

    Raises:
        ConfigError: the base or the device cannot be used.
        InputError: preferences or images cannot be used; both splits are looked at before the
            first step.
        RunError: there are snapshots and `resume` is off, or they are of another training.
        CheckpointedError: SIGTERM arrived; the snapshot is written.
        StoreError: a write failed.
    """
    torch.set_num_threads(config.run.num_threads)
    torch.manual_seed(config.run.seed)
    materials = _prepared(kind, config)
    _check(materials)
    optimiser = optim.AdamW(
        _trained(materials.model, projector=config.optimiser.train_projector),
        lr=config.optimiser.learning_rate,
        weight_decay=config.optimiser.weight_decay,
        betas=(0.9, 0.95),
    )
    training = Training(
        model=materials.model,
        optimiser=optimiser,
        work=config.run.work,
        fingerprint=materials.fingerprint,
        num_steps=config.optimiser.steps,
        snapshot_every=config.run.snapshot_every,
    )
    if not resume and newest_snapshot(config.run.work) is not None:
        raise RunError(f"{config.run.work} holds snapshots; --resume auto goes on from them")
    _run_steps(materials, training)
    return _exported(materials)


def _prepared(kind: RewardKind, config: RewardTrainingConfig) -> _Materials:
    limits = TextLimits(max_length=config.model.max_length, max_chars=config.model.max_chars)
    base = config.model.base
    try:
        llava_config = read_config(base)
        encoder = read_encoder(base, llava_config, limits)
        pixels = read_pixels(base, llava_config, config.model.image_mode)
        model = LlavaRewardModel(llava_config)
        wanted = model.state_dict()
        del wanted["score.weight"]
        state = read_weights(base, wanted, device="cpu", dtype=torch.float32)
        files = [*weight_files(base), base / TOKENIZER_FILE, config.train.path, config.test.path]
    except CheckpointError as error:
        raise ConfigError(f"model.base: {error}") from error
    model.load_state_dict(state, strict=False)

    def maker(data: PreferenceData) -> BatchMaker:
        return BatchMaker(
            encoder=encoder,
            pixels=pixels,
            images_root=data.images_root,
            cached_images=config.run.cached_images,
            max_pixels=config.run.max_pixels,
            max_image_bytes=config.run.max_image_bytes,
        )

    return _Materials(
        kind=kind,
        config=config,
        model=_moved(model, config.run.device),
        pixels=pixels,
        train=_comparable(config.train.path, kind),
        test=_comparable(config.test.path, kind),
        train_maker=maker(config.train),
        test_maker=maker(config.test),
        fingerprint=fingerprint(config, kind, files),
    )


def _moved(model: LlavaRewardModel, device: str) -> LlavaRewardModel:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch's words for no such or no usable device
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"run.device: {device!r} cannot be used: {reason}") from error


def _check(materials: _Materials) -> None:
    """Finds before the first step what would otherwise end the training in its midst or at its end."""
    config = materials.config
    materials.train_maker.check(materials.train, path=config.train.path)
    materials.test_maker.check(materials.test, path=config.test.path)
    try:
        if config.run.out.exists() and not config.run.out.is_dir():
            raise StoreError(f"cannot write {config.run.out}: it is no folder")
        _unfinished(config.run.out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {config.run.out}: {error}") from error


def _trained(model: LlavaRewardModel, *, projector: bool) -> list[nn.Parameter]:
    """Returns the parameters to train, and freezes the others."""
    model.llava.vision_tower.requires_grad_(requires_grad=False)
    model.llava.multi_modal_projector.requires_grad_(requires_grad=projector)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _comparable(path: Path, kind: RewardKind) -> list[PreferenceGroup]:
    groups = [group for group in read_groups(path, kind) if group.num_pairs]
    if not groups:
        raise InputError("no group holds two candidates with different scores", path=path)
    return groups


def _run_steps(materials: _Materials, training: Training) -> None:
    run, num_steps = materials.config.run, training.num_steps
    start = training.resume()
    metrics = MetricsFile(run.work / "metrics.jsonl", from_step=start)

    def take(step: int) -> None:
        values = _step(materials, training.optimiser, step)
        done = step + 1
        if done % run.evaluate_every == 0 and done < num_steps:
            values["test_accuracy"], _ = _test_accuracy(materials)
            logger.info("step %d of %d: %s", done, num_steps, values)
        metrics.append(step, values)

    training.run(take, start=start)


def _step(materials: _Materials, optimiser: optim.Optimizer, step: int) -> dict[str, float]:
    started = time.perf_counter()
    settings = materials.config.optimiser
    places = groups_of_step(
        len(materials.train),
        per_step=settings.groups_per_step,
        step=step,
        seed=materials.config.run.seed,
    )
    batch = materials.train_maker.batch([materials.train[place] for place in places])
    rate = learning_rate(
        step, peak=settings.learning_rate, num_steps=settings.steps, warmup=settings.warmup
    )
    for group in optimiser.param_groups:
        group["lr"] = rate
    reward_B, weights_BB = _rewards_and_weights(materials, batch)
    loss = preference_loss(reward_B, weights_BB)
    optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(materials.model.parameters(), settings.clip_norm)
    optimiser.step()
    accuracy, _ = pairwise_accuracy(reward_B.detach(), weights_BB)
    return {
        "loss": loss.item(),
        "accuracy": accuracy,
        "learning_rate": rate,
        "gradient_norm": norm.item(),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _rewards_and_weights(materials: _Materials, batch: GroupBatch) -> tuple[Tensor, Tensor]:
    reward_B = rewards_of_batch(materials.model, batch)
    cross_image = materials.config.optimiser.cross_image
    weights_BB = pair_weights(batch.score_B, batch.group_B, cross_image=cross_image)
    return reward_B, weights_BB.to(reward_B.device)


def _test_accuracy(materials: _Materials) -> tuple[float, int]:
    materials.model.eval()
    accuracy = accuracy_of_groups(materials.model, materials.test, materials.test_maker)
    materials.model.train()
    return accuracy


def _exported(materials: _Materials) -> TrainingResult:
    """Writes the checkpoint, with its figures measured on the weights as they are stored."""
    config = materials.config
    dtype = DTYPES[config.model.store_dtype]
    with torch.no_grad():
        for parameter in materials.model.parameters():
            parameter.copy_(parameter.to(dtype))
    accuracy, num_pairs = _test_accuracy(materials)
    file = RewardFile(
        name=config.model.name,
        kind=materials.kind,
        image_mode=config.model.image_mode,
        max_length=config.model.max_length,
        max_chars=config.model.max_chars,
        training={
            "steps": config.optimiser.steps,
            "seed": config.run.seed,
            "num_groups": len(materials.train),
            "test_accuracy": round(accuracy, 4),
            "num_test_pairs": num_pairs,
            "fingerprint": materials.fingerprint,
        },
    )
    _write_folder(materials, file)
    return TrainingResult(
        out=config.run.out,
        steps=config.optimiser.steps,
        test_accuracy=accuracy,
        num_test_pairs=num_pairs,
    )


def _unfinished(out: Path) -> Path:
    return out.with_name(f"{out.name}.unfinished")


def _write_folder(materials: _Materials, file: RewardFile) -> None:
    config = materials.config
    unfinished = _unfinished(config.run.out)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        write_reward(
            unfinished,
            materials.model,
            file=file,
            tokenizer=read_tokenizer(config.model.base),
            pixels=materials.pixels,
            dtype=config.model.store_dtype,
        )
        write_card(unfinished, config.model.purpose)
        shutil.rmtree(config.run.out, ignore_errors=True)
        unfinished.replace(config.run.out)
    except OSError as error:
        raise StoreError(f"cannot write {config.run.out}: {error}") from error
