from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from examples.blocks.alignment_examples import is_held_out
from examples.blocks.evaluate_inner_llm import held_out_facts, review_figures, rewrite_figures
from examples.blocks.facts import Description, Kind, kind_of
from examples.blocks.scene import draw_scenes

pytestmark = pytest.mark.timeout(120)  # the import of transformers, on a busy machine
MODEL_DIR = Path("examples/blocks/models/inner-llm")


def test_facts_are_of_held_out_scenes_and_of_every_kind():
    facts = held_out_facts(48, seed=7)
    described = {fact.contents for fact in facts if isinstance(fact, Description)}
    scenes = (scene for scene in draw_scenes(7, "inner-llm evaluation") if is_held_out(scene))
    shown = {next(scenes).contents for _ in range(200)}
    assert len(facts) == 48
    assert {kind_of(fact) for fact in facts} == set(Kind)
    assert described
    assert described <= shown


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_committed_model_beats_an_untrained_one_by_far():
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    model = LlamaForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32).eval()
    torch.manual_seed(0)
    untrained = LlamaForCausalLM(model.config).eval()
    facts = held_out_facts(64, seed=7)
    rewrite = cast("dict[str, Any]", rewrite_figures(facts, model=model, tokenizer=tokenizer))
    review = cast("dict[str, Any]", review_figures(facts, model=model, tokenizer=tokenizer))
    nothing = rewrite_figures(facts[:4], model=untrained, tokenizer=tokenizer)
    assert nothing["facts_kept"] == 0
    assert rewrite["facts_kept"] >= 0.85
    assert rewrite["native"] >= 0.9
    assert review["accuracy"] >= 0.85
    assert min(review["original_first"], review["rewrite_first"]) >= 0.75
