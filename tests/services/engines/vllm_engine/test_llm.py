import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq

from align2llava.clients.wire.schemas import Turn
from align2llava.services.engines.api import ChatMessage, Rollout
from align2llava.services.engines.prompts import (
    CHOICES,
    ReviewOrder,
    review_messages,
    rewrite_messages,
)
from align2llava.services.errors import (
    InternalError,
    InvalidRequestError,
    ServiceError,
    TooLargeError,
    UnavailableError,
)

MODEL_DIR = Path("examples/blocks/models/inner-llm")
COLORS = ("red", "green", "blue", "yellow")
TURNS = [
    Turn(question=f"Tell me the color of the {shape}.", answer=f"Its color is {color}.")
    for shape in ("circle", "star", "cross")
    for color in COLORS
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]


async def greedy(engine, turn: Turn, max_tokens: int = 32) -> Rollout:
    return await engine.complete(
        rewrite_messages(turn), temperature=0.0, seed=0, max_tokens=max_tokens
    )


async def test_greedy_completion_does_not_depend_on_batch_mates(vllm_engine):
    alone = [await greedy(vllm_engine, turn) for turn in TURNS]
    together = await asyncio.gather(*(greedy(vllm_engine, turn) for turn in TURNS))
    assert together == alone
    assert all(0 < rollout.num_completion_tokens <= 32 for rollout in alone)


async def test_the_seed_alone_decides_a_sampled_completion(vllm_engine):
    async def sampled(seed: int) -> str:
        prompt = [ChatMessage(role="user", content="red circle blue star")]
        rollout = await vllm_engine.complete(prompt, temperature=2.0, seed=seed, max_tokens=24)
        return rollout.text

    texts = [await sampled(seed) for seed in (1, 1, 2, 2**64 - 1)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


async def test_constrained_completion_is_one_of_the_choices(vllm_engine):
    rollouts = await asyncio.gather(
        *(
            vllm_engine.complete(
                review_messages(turn, turn, order=order),
                temperature=0.0,
                seed=0,
                max_tokens=4,
                choices=CHOICES,
            )
            for turn in TURNS
            for order in ReviewOrder
        )
    )
    assert {rollout.text for rollout in rollouts} <= set(CHOICES)
    assert {rollout.finish_reason for rollout in rollouts} == {"stop"}


async def test_likelihood_agrees_with_transformers(vllm_engine):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    prompt, completion = "Is there a red star?", " Yes, there is a red star. </s>"
    ids = [
        tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        for text in (prompt, completion)
    ]
    start = 1 + len(ids[0])
    sequence = [tokenizer.bos_token_id, *ids[0], *ids[1]]
    with torch.no_grad():
        logprobs = model(torch.tensor([sequence])).logits[0].log_softmax(-1)
    expected = -sum(
        logprobs[index - 1, sequence[index]].item() for index in range(start, len(sequence))
    )
    likelihood = await vllm_engine.likelihood(prompt, completion)
    assert likelihood.num_tokens == len(ids[1])
    assert likelihood.nll == pytest.approx(expected, abs=1e-3)


async def test_likelihood_of_an_empty_prompt_counts_from_the_first_token(vllm_engine):
    whole = await vllm_engine.likelihood("", "The star")
    assert whole.num_tokens > 0
    assert whole.nll > 0


def fits(max_tokens: int) -> Callable[..., Awaitable[object]]:
    return lambda engine: greedy(engine, TURNS[0], max_tokens)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        pytest.param(fits(100_000), TooLargeError, id="more tokens than the context"),
        pytest.param(
            lambda engine: greedy(engine, Turn(question="q " * 9000, answer="a")),
            TooLargeError,
            id="a prompt beyond the context",
        ),
        pytest.param(
            lambda engine: engine.likelihood("a", "b " * 9000), TooLargeError, id="a long text"
        ),
        pytest.param(
            lambda engine: engine.likelihood("a", ""), InvalidRequestError, id="nothing to score"
        ),
    ],
)
async def test_what_does_not_fit_is_refused(vllm_engine, ask, error: type[ServiceError]):
    with pytest.raises(error):
        await ask(vllm_engine)


async def test_default_bound_shrinks_to_the_context(vllm_engine):
    long = Turn(question="red " * 300, answer="blue " * 300)
    rollout = await greedy(vllm_engine, long, max_tokens=0)
    limit = vllm_engine.llm.model_config.max_model_len
    assert rollout.num_prompt_tokens > limit // 2
    assert rollout.num_prompt_tokens + rollout.num_completion_tokens <= limit


async def test_cancelled_caller_costs_no_model_time(vllm_engine):
    endless = vllm_engine.complete(
        [ChatMessage(role="user", content="1")], temperature=2.0, seed=5, max_tokens=900
    )
    task = asyncio.create_task(endless)
    for _ in range(1000):  # vLLM tells nobody when it has accepted a request
        if vllm_engine.llm.get_num_unfinished_requests():
            break
        await asyncio.sleep(0.01)
    assert vllm_engine.llm.get_num_unfinished_requests() == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert vllm_engine.llm.get_num_unfinished_requests() == 0


async def test_identity_names_weights_dtype_and_prompts(vllm_engine):
    identity = vllm_engine.identity
    assert identity.kind == "inner-llm"
    assert identity.dtype == "float32"
    assert identity.template_version
    assert identity.engine.startswith("vllm 0.")
    assert vllm_engine.is_running


# vLLM closes the sockets of a client whose core did not start, and leaves the context to the collector
# (vllm/v1/engine/core_client.py 0.32.0: `BackgroundResources.__call__`).
@pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")
async def test_core_that_cannot_start_tells_its_root_cause(vllm_engine):
    from align2llava.services.engines.vllm_engine.llm import LlmMemory

    others, contexts = multiprocessing.active_children(), zmq_contexts()
    with pytest.raises(UnavailableError, match=r"cannot load inner-llm: [^\n]*cache blocks[^\n]*$"):
        await type(vllm_engine).load(
            MODEL_DIR,
            device="cpu",
            dtype="float32",
            num_threads=1,
            memory=LlmMemory(kv_cache_bytes=2**16),
        )
    assert multiprocessing.active_children() == others
    assert zmq_contexts() == contexts  # else it would be collected, and warned of, in another test


def zmq_contexts() -> set[int]:
    """Returns the identities of the contexts that something still holds."""
    gc.collect()
    return {id(found) for found in gc.get_objects() if issubclass(type(found), zmq.Context)}


async def test_directory_without_a_checkpoint_cannot_be_loaded(vllm_engine, tmp_path: Path):
    with pytest.raises(UnavailableError, match="cannot load"):
        await type(vllm_engine).load(tmp_path, device="cpu", dtype="float32", num_threads=1)


@pytest.mark.parametrize(
    ("raised", "error"),
    [("EngineDeadError", UnavailableError), ("EngineGenerateError", InternalError)],
)
async def test_failures_of_vllm_are_typed(vllm_engine, raised: str, error: type[ServiceError]):
    from vllm.v1.engine import exceptions

    from align2llava.services.engines.vllm_engine.tokenizer import PromptTokenizer

    async def generate(*_: object) -> AsyncIterator[object]:
        raise getattr(exceptions, raised)
        yield

    llm = SimpleNamespace(generate=generate, model_config=SimpleNamespace(max_model_len=1024))
    tokenizer = PromptTokenizer.load(MODEL_DIR)
    engine = type(vllm_engine)(llm, tokenizer=tokenizer, identity=None)
    with pytest.raises(error):
        await greedy(engine, TURNS[0])
    tokenizer.close()


async def test_core_that_the_supervisor_tells_to_end_still_answers_what_comes(vllm_engine):
    (core,) = multiprocessing.active_children()
    assert core.pid is not None
    os.kill(core.pid, signal.SIGTERM)
    await asyncio.sleep(0.2)
    async with asyncio.timeout(30):
        assert (await greedy(vllm_engine, TURNS[0])).num_completion_tokens > 0
    assert core.is_alive()
