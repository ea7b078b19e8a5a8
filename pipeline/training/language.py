"""LLaVA as a language model, and its loss on texts about images. Starts reward and MLLM training.

Shapes: B rows, T tokens, D hidden size, V vocabulary, P image tokens.
"""

from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaConfig

from services.reward_model.model import LlavaBackbone, text_config


class LlavaLanguageModel(LlavaBackbone):
    """LLaVA with its language-model head."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        text = text_config(config)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        nn.init.normal_(self.lm_head.weight, std=text.initializer_range)

    def forward(self, ids_BT: Tensor, attention_mask_BT: Tensor, features_BPD: Tensor) -> Tensor:
        """Returns the mean loss in nats of predicting every text token; shape [].

        Image positions and padding are not predicted.
        """
        hidden_BTD = self.hidden(ids_BT, attention_mask_BT, features_BPD)
        target_BT = ids_BT[:, 1:]
        is_text_BT = (attention_mask_BT[:, 1:] == 1) & (target_BT != self.config.image_token_id)
        logits_NV = self.lm_head(hidden_BTD[:, :-1][is_text_BT])
        return functional.cross_entropy(logits_NV.float(), target_BT[is_text_BT])
