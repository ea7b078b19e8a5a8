import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from examples.blocks.train_inner_llm import Recipe, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHORT = Recipe(
    steps=8,
    simple_steps=4,
    detailed_steps=6,
    num_rewrites=4,
    num_reviews=4,
    warmup_steps=2,
    hidden_size=64,
)


class InterruptedRunError(Exception):
    pass


def weights_hash(path: Path) -> str:
    return hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("whole")
    return train(SHORT, out=work / "inner-llm", work=work / "work", num_threads=1, snapshot_every=3)


def test_same_recipe_gives_the_same_weights(whole: Path, tmp_path: Path):
    again = train(
        SHORT, out=tmp_path / "inner-llm", work=tmp_path / "work", num_threads=1, snapshot_every=100
    )
    assert weights_hash(again) == weights_hash(whole)


def test_interrupted_training_resumes_to_the_same_weights(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "inner-llm"
    steps = 0
    real_step = torch.optim.AdamW.step

    def step(optimizer: torch.optim.AdamW) -> None:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise InterruptedRunError
        real_step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(InterruptedRunError):
        train(SHORT, out=out, work=tmp_path / "work", num_threads=1, snapshot_every=3)
    assert not out.exists()
    train(SHORT, out=out, work=tmp_path / "work", num_threads=1, snapshot_every=3)
    assert steps < 6 + SHORT.steps
    assert weights_hash(out) == weights_hash(whole)


def test_reduced_recipe_learns_to_rewrite(tmp_path: Path):
    from transformers import AutoTokenizer, LlamaForCausalLM

    from examples.blocks.evaluate_inner_llm import held_out_facts, rewrite_figures

    recipe = Recipe(steps=300, simple_steps=300, num_reviews=4, warmup_steps=20, hidden_size=64)
    out = train(
        recipe,
        out=tmp_path / "inner-llm",
        work=tmp_path / "work",
        num_threads=1,
        snapshot_every=1000,
    )
    model = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    figures = cast(
        "dict[str, Any]",
        rewrite_figures(
            held_out_facts(32, seed=5), model=model, tokenizer=AutoTokenizer.from_pretrained(out)
        ),
    )
    # An untrained model writes nothing that can be read as a turn.
    assert figures["parsed"] > 0.6
