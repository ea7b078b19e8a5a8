"""The inner LLM while it learns: the Llama, and two helps for its review that are dropped later.

A verdict is one token of loss for a whole prompt, too little to find out what decides it. So while
the second version is read, the second layer is asked for the next word (it learns where the first
version says the same), and the third whether a word is news. Only the Llama is exported.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from examples.blocks.train_inner_batches import IGNORED, Batch

# Shapes: B examples, T tokens, D hidden; N places with a target.

_ALIGNING_LAYER = 2
_NEWS_LAYER = 3


class Student(nn.Module):
    """Computes the losses of a batch, each summed over its targets, in nats."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.llama = LlamaForCausalLM(config)
        self.news_head = nn.Linear(config.hidden_size, 1)

    def rewrite_loss(self, batch: Batch) -> Tensor:
        """Returns the loss of the completions."""
        hidden_BTD = self.llama.model(input_ids=batch.ids_BT).last_hidden_state
        return self._next_token_loss(hidden_BTD, batch.targets_BT)

    def review_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the losses of the letters, of the second version, and of the two helps."""
        outputs = self.llama.model(input_ids=batch.ids_BT, output_hidden_states=True)
        aligned_BTD = self.llama.model.norm(outputs.hidden_states[_ALIGNING_LAYER])
        is_word_BT = batch.news_BT != IGNORED
        news_N = self.news_head(outputs.hidden_states[_NEWS_LAYER][is_word_BT]).squeeze(-1)
        return {
            "review": self._next_token_loss(outputs.last_hidden_state, batch.targets_BT),
            "version": self._next_token_loss(outputs.last_hidden_state, batch.version_targets_BT),
            "aligned": self._next_token_loss(aligned_BTD, batch.version_targets_BT),
            "news": functional.binary_cross_entropy_with_logits(
                news_N, batch.news_BT[is_word_BT].float(), reduction="sum"
            ),
        }

    def _next_token_loss(self, hidden_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        is_target_BT = targets_BT != IGNORED
        logits_NV = self.llama.lm_head(hidden_BTD[is_target_BT])
        return functional.cross_entropy(logits_NV, targets_BT[is_target_BT], reduction="sum")


def num_targets(targets_BT: Tensor) -> int:
    """Returns how many places have a target."""
    return int(torch.count_nonzero(targets_BT != IGNORED))
