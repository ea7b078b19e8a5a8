"""Trains the inner LLM of the blocks world from scratch: `python -m examples.blocks.train_inner_llm`.

A small Llama learns, under the prompts of `services.engines.prompts`, to rewrite turns into native style
and to review rewrites. Every batch is drawn from the seed and the step, so a run that is
interrupted goes on from its last snapshot as if it had not been. CPU, float32, one thread: the
number of threads changes the order of sums, and so the weights.
"""

import argparse
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from align2llava.pipeline.training.loop import Training
from align2llava.services.reward_model.card import write_card
from examples.blocks.alignment_examples import (
    DESCRIPTION_SHARE,
    Example,
    review_example,
    rewrite_example,
)
from examples.blocks.train_inner_batches import by_length, encode
from examples.blocks.train_inner_student import Student, num_targets
from examples.blocks.train_inner_tokenizer import BOS_ID, EOS_ID, PAD_ID, build_tokenizer

logger = logging.getLogger(__name__)

MODEL_DIR = Path(__file__).parent / "models" / "inner-llm"
MAX_LENGTH = 1024
PURPOSE = "the blocks world of examples/blocks only; rewrites of other texts mean nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the weights."""

    seed: int = 0
    steps: int = 2600
    simple_steps: int = 700  # before descriptions, which are long, are learnt too
    detailed_steps: int = 1500  # before half of the rewrites are of descriptions
    num_rewrites: int = 12  # a step
    num_reviews: int = 28
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    version_weight: float = 0.3  # of the losses beside those of rewrite and review, see `Student`
    aligned_weight: float = 0.3
    news_weight: float = 1.0
    hidden_size: int = 128
    num_layers: int = 4


def train(recipe: Recipe, *, out: Path, work: Path, num_threads: int, snapshot_every: int) -> Path:
    """Trains, or goes on from the snapshot in `work`; returns `out` with the finished checkpoint."""
    torch.set_num_threads(num_threads)
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(max_length=MAX_LENGTH)
    student = Student(_config(recipe, vocab_size=len(tokenizer)))
    optimiser = torch.optim.AdamW(
        student.parameters(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    training = Training(
        model=student,
        optimiser=optimiser,
        work=work,
        fingerprint=repr(recipe),
        num_steps=recipe.steps,
        snapshot_every=snapshot_every,
    )
    first = training.resume()
    logger.info("training from step %d of %d", first, recipe.steps)
    started_s = time.monotonic()

    def take(step: int) -> None:
        losses = _step(
            step, recipe=recipe, student=student, optimiser=optimiser, tokenizer=tokenizer
        )
        if (step + 1) % 50 == 0:
            rate = (step + 1 - first) / (time.monotonic() - started_s)
            named = " ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            logger.info("step %d %s %.2f steps/s", step + 1, named, rate)

    training.run(take, start=first)
    _export(student.llama, tokenizer, recipe=recipe, out=out)
    return out


def _step(
    step: int,
    *,
    recipe: Recipe,
    student: Student,
    optimiser: torch.optim.Optimizer,
    tokenizer: PreTrainedTokenizerFast,
) -> dict[str, float]:
    """Takes one optimiser step and returns the losses: nats a token, a letter, or a word."""
    rng = Random(f"{recipe.seed}/{step}")
    share = 0.0 if step < recipe.simple_steps else DESCRIPTION_SHARE
    detailed = share if step < recipe.detailed_steps else 0.5
    rewrites = [
        rewrite_example(rng, description_share=detailed) for _ in range(recipe.num_rewrites)
    ]
    reviews = [review_example(rng, description_share=share) for _ in range(recipe.num_reviews)]
    optimiser.param_groups[0]["lr"] = _learning_rate(step, recipe)
    optimiser.zero_grad(set_to_none=True)
    losses = _learn_rewrites(rewrites, student=student, tokenizer=tokenizer)
    losses |= _learn_reviews(reviews, recipe=recipe, student=student, tokenizer=tokenizer)
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimiser.step()
    return losses


def _learn_rewrites(
    examples: Sequence[Example], *, student: Student, tokenizer: PreTrainedTokenizerFast
) -> dict[str, float]:
    batches = [encode(group, tokenizer) for group in by_length(examples)]
    num_tokens = sum(num_targets(batch.targets_BT) for batch in batches)
    total = 0.0
    for batch in batches:
        loss = student.rewrite_loss(batch) / num_tokens
        loss.backward()
        total += loss.item()
    return {"rewrite": total}


def _learn_reviews(
    examples: Sequence[Example],
    *,
    recipe: Recipe,
    student: Student,
    tokenizer: PreTrainedTokenizerFast,
) -> dict[str, float]:
    batches = [encode(group, tokenizer) for group in by_length(examples)]
    num_tokens = sum(num_targets(batch.version_targets_BT) for batch in batches)
    num_words = sum(num_targets(batch.news_BT) for batch in batches)
    scales = {
        "review": 1 / len(examples),
        "version": 1 / num_tokens,
        "aligned": 1 / num_tokens,
        "news": 1 / num_words,
    }
    weights = {
        "review": 1.0,
        "version": recipe.version_weight,
        "aligned": recipe.aligned_weight,
        "news": recipe.news_weight,
    }
    totals = dict.fromkeys(scales, 0.0)
    for batch in batches:
        losses = {name: loss * scales[name] for name, loss in student.review_losses(batch).items()}
        torch.stack([loss * weights[name] for name, loss in losses.items()]).sum().backward()
        for name, loss in losses.items():
            totals[name] += loss.item()
    return totals


def _learning_rate(step: int, recipe: Recipe) -> float:
    """Returns the rate of a step: linear warm-up, then a cosine down to nothing."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def _config(recipe: Recipe, *, vocab_size: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=recipe.hidden_size,
        intermediate_size=3 * recipe.hidden_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.hidden_size // 32,  # a head size that vLLM takes on CPUs
        num_key_value_heads=recipe.hidden_size // 32,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        initializer_range=0.08,  # the usual 0.02 is for wide models; here copying starts far later
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )


def _export(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, recipe: Recipe, out: Path
) -> None:
    """Writes the checkpoint in bfloat16, and puts it in place of an older one when complete."""
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.bfloat16().save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    write_card(partial, PURPOSE)
    for path in partial.iterdir():
        path.chmod(0o644)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


def main() -> None:
    """Runs the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=MODEL_DIR)
    parser.add_argument("--work", type=Path, default=Path("runs/models/inner-llm"))
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(seed=arguments.seed, steps=arguments.steps)
    train(
        recipe,
        out=arguments.out,
        work=arguments.work,
        num_threads=arguments.threads,
        snapshot_every=250,
    )


if __name__ == "__main__":
    main()
