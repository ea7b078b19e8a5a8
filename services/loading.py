"""Builds the core of a service with the engine its settings name. Heavy imports happen here."""

import asyncio
import importlib

from align2llava.clients.wire.kinds import RewardKind
from align2llava.services.core.aligning import AlignCore
from align2llava.services.core.scoring import ScoreCore
from align2llava.services.engines.api import LanguageEngine, RewardEngine
from align2llava.services.engines.fake import FakeLanguageEngine, FakeRewardEngine
from align2llava.services.process.lifecycle import LoadedModel, Parts
from align2llava.services.settings import Settings


async def load_question_reward(parts: Parts) -> LoadedModel[ScoreCore]:
    """Returns the core of question-reward."""
    return await _load_reward(parts, kind="question-reward")


async def load_answer_reward(parts: Parts) -> LoadedModel[ScoreCore]:
    """Returns the core of answer-reward."""
    return await _load_reward(parts, kind="answer-reward")


async def _load_reward(parts: Parts, *, kind: RewardKind) -> LoadedModel[ScoreCore]:
    # On the device thread: torch is touched by no other.
    engine = await asyncio.get_running_loop().run_in_executor(
        parts.executor, _reward_engine, parts.settings, kind
    )
    core = ScoreCore(
        engine,
        kind=kind,
        settings=parts.settings,
        executor=parts.executor,
        admission=parts.admission,
        metrics=parts.metrics,
    )
    return LoadedModel(core=core)


def _reward_engine(settings: Settings, kind: RewardKind) -> RewardEngine:
    if settings.engine == "fake":
        return FakeRewardEngine(kind)
    if settings.engine == "vllm":
        return _vllm_reward_engine(settings, kind)
    from align2llava.services.engines.torch_engine.reward import (  # noqa: PLC0415  (imports torch)
        EngineLimits,
        TorchRewardEngine,
    )

    return TorchRewardEngine.load(
        settings.model_dir,
        kind=kind,
        device=settings.device,
        dtype=settings.dtype,
        num_threads=settings.num_threads,
        limits=EngineLimits(
            max_batch_tokens=settings.max_batch_tokens,
            max_feature_bytes=settings.max_feature_bytes,
            long_text=settings.long_text,
        ),
    )


def _vllm_reward_engine(settings: Settings, kind: RewardKind) -> RewardEngine:
    # Imports torch; has to come before anything that imports torchvision.
    from align2llava.services.engines.vllm_engine.torchvision_operators import declare_operators  # noqa: PLC0415

    declare_operators()
    from align2llava.services.engines.vllm_engine.reward import (  # noqa: PLC0415  (imports vllm)
        VllmLimits,
        VllmRewardEngine,
    )

    return VllmRewardEngine.load(
        settings.model_dir,
        kind=kind,
        device=settings.device,
        dtype=settings.dtype,
        num_threads=settings.num_threads,
        limits=VllmLimits(max_batch_tokens=settings.max_batch_tokens, long_text=settings.long_text),
    )


async def load_inner_llm(parts: Parts) -> LoadedModel[AlignCore]:
    """Returns the core of inner-llm, and vLLM's chat routes where vLLM is the engine."""
    settings = parts.settings
    if settings.engine == "fake":
        return LoadedModel(core=_align_core(FakeLanguageEngine(), parts))
    # vLLM takes seconds to import; probes are answered meanwhile.
    await asyncio.to_thread(importlib.import_module, "align2llava.services.surfaces.rest.chat")
    from align2llava.services.engines.vllm_engine.llm import LlmMemory, VllmEngine  # noqa: PLC0415  (imports vllm)
    from align2llava.services.surfaces.rest.chat import chat_app  # noqa: PLC0415  (imports vllm)

    engine = await VllmEngine.load(
        settings.model_dir,
        device=settings.device,
        dtype=settings.dtype,
        num_threads=settings.num_threads,
        memory=LlmMemory(
            max_model_len=settings.max_model_len,
            kv_cache_bytes=settings.kv_cache_bytes,
            gpu_memory_fraction=settings.gpu_memory_fraction,
        ),
    )
    return LoadedModel(core=_align_core(engine, parts), app=chat_app(engine))


def _align_core(engine: LanguageEngine, parts: Parts) -> AlignCore:
    return AlignCore(
        engine, settings=parts.settings, admission=parts.admission, metrics=parts.metrics
    )
