"""Measures the inner LLM on held-out scenes: `python -m examples.blocks.evaluate_inner_llm`.

Rewrites are decoded greedily and read back by `language`; reviews are the likelier of the two
letters, as constrained decoding would choose. float32 on the CPU; prints the figures and writes
them beside the model.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from align2llava.clients.wire.schemas import Turn, Verdict
from align2llava.services.engines.prompts import (
    CHOICES,
    ReviewOrder,
    combined,
    parse_rewrite,
    review_messages,
    rewrite_messages,
    verdict_of,
)
from examples.blocks import language
from examples.blocks.alignment_examples import (
    Change,
    Pair,
    is_held_out,
    pair_of,
    said_somehow,
)
from examples.blocks.facts import Description, Fact, Kind, Truth, kind_of
from examples.blocks.sampling import NoSuchFactError, draw_fact, draw_topic
from examples.blocks.scene import Scene, draw_scenes
from examples.blocks.train_inner_batches import prompt_ids, text_ids
from examples.blocks.train_inner_llm import MODEL_DIR

FIGURES = "figures.json"
_GROUP = 32  # prompts decoded at once
_CHANGED = (Change.OTHER_FACT, Change.OTHER_WORD)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = LlamaForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    facts = held_out_facts(max(arguments.turns, arguments.pairs), seed=arguments.seed)
    figures = {
        "seed": arguments.seed,
        "rewrite": rewrite_figures(facts[: arguments.turns], model=model, tokenizer=tokenizer),
        "review": review_figures(facts[: arguments.pairs], model=model, tokenizer=tokenizer),
    }
    text = json.dumps(figures, indent=2)
    (arguments.model / FIGURES).write_text(text + "\n")
    print(text)


def held_out_facts(num_facts: int, *, seed: int) -> list[Fact]:
    """Returns true facts of held-out scenes, one a scene, the kinds in turn."""
    rng = Random(f"{seed}/evaluation")
    scenes = (scene for scene in draw_scenes(seed, "inner-llm evaluation") if is_held_out(scene))
    facts: list[Fact] = []
    for scene in scenes:
        kind = list(Kind)[len(facts) % len(Kind)]
        fact = _true_fact(kind, scene=scene, rng=rng)
        if fact is not None:
            facts.append(fact)
        if len(facts) == num_facts:
            break
    return facts


def rewrite_figures(
    facts: Sequence[Fact], *, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> dict[str, object]:
    """Returns how many rewrites parse, keep the fact and are native, in all and by kind."""
    rng = Random(0)
    originals = [said_somehow(fact, rng) for fact in facts]
    prompts = [prompt_ids(rewrite_messages(turn), tokenizer) for turn in originals]
    completions = _greedy(prompts, model=model, tokenizer=tokenizer)
    by_kind: dict[str, list[bool]] = defaultdict(list)
    num_parsed = num_native = 0
    for fact, completion in zip(facts, completions, strict=True):
        rewrite = parse_rewrite(completion)
        num_parsed += rewrite is not None
        by_kind[kind_of(fact)].append(rewrite is not None and _states(rewrite, fact))
        num_native += rewrite is not None and language.is_native(_plain(rewrite))
    kept = [is_kept for group in by_kind.values() for is_kept in group]
    return {
        "turns": len(facts),
        "parsed": num_parsed / len(facts),
        "facts_kept": _share(kept),
        "native": num_native / len(facts),
        "facts_kept_by_kind": {kind: _share(group) for kind, group in sorted(by_kind.items())},
    }


def review_figures(
    facts: Sequence[Fact], *, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> dict[str, object]:
    """Returns how often the verdict is right: half the rewrites are faithful, half changed a fact.

    `accuracy` is that of both orders together, the rewrite where both agree on it.
    """
    rng = Random(0)
    pairs = [
        pair_of(fact, change=rng.choice(_CHANGED) if index % 2 else Change.FAITHFUL, rng=rng)
        for index, fact in enumerate(facts)
    ]
    choices = {
        order: [_verdict(pair, order, model=model, tokenizer=tokenizer) for pair in pairs]
        for order in ReviewOrder
    }
    first, second = choices[ReviewOrder.ORIGINAL_FIRST], choices[ReviewOrder.REWRITE_FIRST]
    verdicts = [
        combined(original_first=a, rewrite_first=b).verdict
        for a, b in zip(first, second, strict=True)
    ]
    by_change: dict[str, list[bool]] = defaultdict(list)
    for pair, verdict in zip(pairs, verdicts, strict=True):
        by_change[pair.change].append(verdict is pair.verdict)
    return {
        "pairs": len(pairs),
        "accuracy": _accuracy(verdicts, pairs),
        "original_first": _accuracy(first, pairs),
        "rewrite_first": _accuracy(second, pairs),
        "accuracy_by_change": {name: _share(group) for name, group in sorted(by_change.items())},
    }


def _true_fact(kind: Kind, *, scene: Scene, rng: Random) -> Fact | None:
    if kind is Kind.DESCRIPTION:
        return Description(scene.contents)
    try:
        return draw_fact(draw_topic(kind, rng), scene, truth=Truth.TRUE, rng=rng)
    except NoSuchFactError:
        return None


def _states(turn: Turn, fact: Fact) -> bool:
    reading = language.read(_plain(turn))
    return reading is not None and reading.fact == fact


def _plain(turn: Turn) -> language.Turn:
    return language.Turn(turn.question, turn.answer)


def _accuracy(verdicts: Sequence[Verdict], pairs: Sequence[Pair]) -> float:
    return _share([v is pair.verdict for v, pair in zip(verdicts, pairs, strict=True)])


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 4)


@torch.inference_mode()
def _verdict(
    pair: Pair, order: ReviewOrder, *, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Verdict:
    ids = prompt_ids(review_messages(pair.original, pair.rewrite, order=order), tokenizer)
    logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    letters = [text_ids(letter, tokenizer)[0] for letter in CHOICES]
    return verdict_of(CHOICES[int(logits[letters].argmax())], order=order)


@torch.inference_mode()
def _greedy(
    prompts: Sequence[list[int]], *, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> list[str]:
    """Returns the greedy completion of each prompt; like lengths are decoded together."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    completions = [""] * len(prompts)
    for start in range(0, len(order), _GROUP):
        group = order[start : start + _GROUP]
        padded = tokenizer.pad(
            {"input_ids": [prompts[index] for index in group]},
            padding_side="left",
            return_tensors="pt",
        )
        width = padded["input_ids"].shape[1]
        # transformers 5.19 declares `generate` for a protocol that its own models do not fit.
        outputs = model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            **padded, do_sample=False, max_new_tokens=width + 64
        )
        for index, ids in zip(group, outputs, strict=True):
            completions[index] = str(tokenizer.decode(ids[width:], skip_special_tokens=True))
    return completions


if __name__ == "__main__":
    main()
