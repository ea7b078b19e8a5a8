"""What the slow tests of the inner LLM share: one real engine, since each start takes 30 s."""

import importlib
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from align2llava.services.engines.vllm_engine.llm import VllmEngine

MODEL_DIR = Path("examples/blocks/models/inner-llm")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm_engine(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator["VllmEngine"]:
    # Nothing may be compiled: its core would end at the first likelihood, as on a machine without g++.
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("CXX", "/nowhere/g++")
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        # vLLM 0.32 uses names that torch 2.13 deprecates, at import and while it starts.
        warnings.simplefilter("ignore")
        importlib.import_module(
            "align2llava.services.surfaces.rest.chat"
        )  # its imports warn as well
        from align2llava.services.engines.vllm_engine.llm import VllmEngine

        engine = await VllmEngine.load(MODEL_DIR, device="cpu", dtype="float32", num_threads=1)
    try:
        yield engine
    finally:
        await engine.close()
