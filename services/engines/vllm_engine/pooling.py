"""A LLaVA reward model in vLLM's pooling runner: token ids and pixels in, rewards out.

The engine runs in this process and in the thread that calls `rewards`. Rows come as they are, with
the image's places, and pixels as the vision tower reads them: vLLM tokenises and resizes nothing.
Call `torchvision_operators.declare_operators` before this module is imported.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from transformers import BatchFeature
from vllm import ModelRegistry, PoolingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.inputs.engine import MultiModalInput, TokensInput, mm_input, tokens_input
from vllm.model_executor.models.llava import LlavaForConditionalGeneration
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange
from vllm.outputs import PoolingRequestOutput
from vllm.platforms import current_platform
from vllm.v1.engine.llm_engine import LLMEngine

from align2llava.services.reward_model.llava.checkpoint import DTYPES
from align2llava.services.reward_model.tokens.inputs import ImageInput

Prompt = MultiModalInput | TokensInput

_IMAGE_OFFSET = 1  # the image stands behind BOS
_CPU_KV_CACHE_BYTES = 1 << 30
_CPU_BLOCK_SIZE = 32  # its default of 128 would never share a prefix of under 128 tokens
_MAX_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingLimits:
    """How long a row may be, and how many tokens are computed in one step."""

    max_row_tokens: int
    max_batch_tokens: int


class PoolingModel:
    """A running vLLM; one thread."""

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine
        self._num_requests = 0
        self._num_cached_tokens = 0

    @classmethod
    def load(
        cls, folder: Path, *, device: str, dtype: str, num_threads: int, limits: PoolingLimits
    ) -> Self:
        """Returns the model of a checkpoint folder, which has to fit our layout.

        Sets environment variables of this process, which vLLM reads; `num_threads` is torch's on a
        CPU, for the whole process and for good.

        Raises:
            ValueError: this vLLM is built for another device.
        """
        _refuse_other_device(torch.device(device))
        torch.set_num_threads(num_threads)  # vLLM makes later calls of it do nothing
        _set_environment(num_threads=num_threads)
        # Registered as a class, it is not inspected in a subprocess, where torchvision would fail.
        ModelRegistry.register_model("LlavaForConditionalGeneration", LlavaForConditionalGeneration)
        is_cpu = torch.device(device).type == "cpu"
        arguments = EngineArgs(
            model=str(folder),
            runner="pooling",
            convert="classify",
            load_format="safetensors",
            dtype=dtype,  # pyright: ignore[reportArgumentType]  a Literal there; vLLM checks it
            seed=0,
            max_model_len=limits.max_row_tokens,
            max_num_batched_tokens=max(limits.max_batch_tokens, limits.max_row_tokens),
            max_num_seqs=_MAX_ROWS_AT_ONCE,
            limit_mm_per_prompt={"image": 1},
            mm_processor_cache_gb=0,  # pixels come ready
            enable_prefix_caching=True,
            enforce_eager=is_cpu,
            block_size=_CPU_BLOCK_SIZE if is_cpu else None,
            kv_cache_memory_bytes=_CPU_KV_CACHE_BYTES if is_cpu else None,
            disable_log_stats=True,
        )
        return cls(LLMEngine.from_engine_args(arguments))

    def rewards(self, prompts: Iterable[Prompt]) -> list[float]:
        """Returns the reward of each prompt, in order; those of one image should stand together.

        Raises:
            RuntimeError: vLLM answered a prompt with an error, or not at all.
        """
        params = PoolingParams(task="classify", use_activation=False)
        names: list[str] = []
        try:
            for prompt in prompts:
                names.append(str(self._num_requests))
                self._num_requests += 1
                self._engine.add_request(names[-1], prompt, params)
            found = self._finished()
        finally:
            # After an error nothing of this call may be answered to the next one.
            self._engine.abort_request(names)
        return [found[name] for name in names]

    def _finished(self) -> dict[str, float]:
        found: dict[str, float] = {}
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                if not isinstance(output, PoolingRequestOutput) or output.error is not None:
                    raise RuntimeError(f"vLLM failed a row: {output}")
                found[output.request_id] = float(output.outputs.data.item())
                self._num_cached_tokens += output.num_cached_tokens
        return found

    @property
    def num_cached_tokens(self) -> int:
        """Returns how many tokens of all rows so far were found in the prefix cache."""
        return self._num_cached_tokens

    def forget_prefixes(self) -> None:
        """Empties the caches of prefixes and of image features."""
        self._engine.reset_prefix_cache()
        self._engine.reset_encoder_cache()


def prompts_of(
    rows: Sequence[Sequence[int]], image: ImageInput | None, *, image_key: str, dtype: str
) -> list[Prompt]:
    """Returns what `PoolingModel.rewards` takes for rows of one image; any thread.

    Equal keys mean equal images; an empty key stands for the hash of the pixels. The image's places
    begin behind the first token.
    """
    if image is None:
        return [tokens_input(list(row)) for row in rows]
    pixels = torch.from_numpy(image.pixels).to(DTYPES[dtype]).unsqueeze(0)  # one image
    items = MultiModalKwargsItems.from_hf_inputs(
        BatchFeature({"pixel_values": pixels}),
        {"pixel_values": MultiModalFieldConfig.batched("image")},
    )
    key = image_key or hashlib.blake2b(image.pixels.tobytes(), digest_size=16).hexdigest()
    place = PlaceholderRange(offset=_IMAGE_OFFSET, length=image.num_tokens)
    return [
        mm_input(list(row), items, mm_hashes={"image": [key]}, mm_placeholders={"image": [place]})
        for row in rows
    ]


def _refuse_other_device(device: torch.device) -> None:
    built_for: str = current_platform.device_type
    if device.type != built_for or device.index:
        raise ValueError(
            f"the device is {device}; this vLLM computes on {built_for}, the first one"
        )


def _set_environment(*, num_threads: int) -> None:
    """Sets what vLLM reads from the environment only."""
    os.environ.update(
        {
            "OMP_NUM_THREADS": str(num_threads),
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # torchvision's operators are declared here only
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else two engines share the same pinned core
            "VLLM_LOGGING_LEVEL": "ERROR",
            "VLLM_LOGGING_STREAM": "ext://sys.stderr",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",  # a service fetches nothing
        }
    )
