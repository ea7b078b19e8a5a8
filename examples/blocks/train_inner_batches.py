"""Examples of the inner LLM as padded batches of token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from align2llava.services.engines.api import ChatMessage
from examples.blocks.alignment_examples import WORLD_WORDS, Example
from examples.blocks.train_inner_tokenizer import EOS_ID, NAMES, PAD_ID, QUESTION_TAG

# Shapes: B examples, T tokens.

IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Ids padded on the right; a target is the next token to be learnt, or is ignored."""

    ids_BT: Tensor
    targets_BT: Tensor
    version_targets_BT: Tensor  # the second version that a review shows, else ignored
    news_BT: Tensor  # at each word of the world in it: 1 if new, 0 if the first version has it too


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> Batch:
    """Returns examples as one batch; only completions are targets, each with its end token."""
    prompts = [prompt_ids(example.messages, tokenizer) for example in examples]
    completions = [[*text_ids(example.completion, tokenizer), EOS_ID] for example in examples]
    width = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True)) - 1
    ids_BT = torch.full((len(examples), width), PAD_ID)
    targets_BT = torch.full_like(ids_BT, IGNORED)
    version_targets_BT = torch.full_like(ids_BT, IGNORED)
    news_BT = torch.full_like(ids_BT, IGNORED)
    (tag_id,) = text_ids(QUESTION_TAG, tokenizer)
    world_ids = _world_ids(tokenizer)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        ids = torch.tensor(prompt + completion)
        ids_BT[row, : len(ids) - 1] = ids[:-1]
        targets_BT[row, len(prompt) - 1 : len(ids) - 1] = ids[len(prompt) :]
        if prompt.count(tag_id) == 2:
            start = len(prompt) - prompt[::-1].index(tag_id)
            version_targets_BT[row, start - 1 : len(prompt) - 2] = ids[start : len(prompt) - 1]
            seen = set(prompt[:start])
            for place in range(start, len(prompt)):
                if prompt[place] in world_ids:
                    news_BT[row, place] = int(prompt[place] not in seen)
    return Batch(
        ids_BT=ids_BT,
        targets_BT=targets_BT,
        version_targets_BT=version_targets_BT,
        news_BT=news_BT,
    )


def prompt_ids(messages: Sequence[ChatMessage], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Returns the ids of a chat prompt, up to where the assistant starts to speak."""
    text = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in messages],
        add_generation_prompt=True,
        tokenize=False,
    )
    return text_ids(str(text), tokenizer)


def text_ids(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Returns the ids of a text as it stands."""
    return list(tokenizer.encode(text, add_special_tokens=False))


@cache
def _world_ids(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Returns the tokens of the world's words and names, at the start of a text and after a space."""
    words = [*WORLD_WORDS, *NAMES]
    ids = [text_ids(form, tokenizer) for word in words for form in (word, f" {word}")]
    return frozenset(found[0] for found in ids if len(found) == 1)


def by_length(examples: Sequence[Example]) -> list[list[Example]]:
    """Returns the examples in groups of like lengths, so that little is padded."""
    ordered = sorted(examples, key=lambda example: len(example.messages[0].content))
    cuts = [0, len(ordered) // 2, len(ordered) * 3 // 4, len(ordered) * 7 // 8, len(ordered)]
    return [ordered[start:end] for start, end in pairwise(cuts) if end > start]
