"""LLaVA as a language model, and its loss on completions about images. Starts reward and MLLM training.

Shapes: B rows, T tokens, D hidden size, V vocabulary, P image tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaConfig

from align2llava.services.reward_model.llava.model import LlavaBackbone, text_config


class LlavaLanguageModel(LlavaBackbone):
    """LLaVA with its language-model head."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        text = text_config(config)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        nn.init.normal_(self.lm_head.weight, std=text.initializer_range)

    def forward(
        self,
        ids_BT: Tensor,
        attention_mask_BT: Tensor,
        features_BPD: Tensor,
        *,
        num_prompt_B: Tensor,
    ) -> Tensor:
        """Returns the mean loss in nats of predicting the completions' tokens; shape [].

        The first `num_prompt_B` tokens of a row (image and prompt) are read and not predicted.
        """
        hidden_BTD = self.hidden(ids_BT, attention_mask_BT, features_BPD)
        places_T = torch.arange(1, ids_BT.shape[1], device=ids_BT.device)
        is_target_BT = (attention_mask_BT[:, 1:] == 1) & (places_T >= num_prompt_B.unsqueeze(1))
        logits_NV = self.lm_head(hidden_BTD[:, :-1][is_target_BT])
        return functional.cross_entropy(logits_NV.float(), ids_BT[:, 1:][is_target_BT])
