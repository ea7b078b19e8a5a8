"""A language model's layers, repacked to compute token trees and nothing else.

For Llama and Qwen2.5-VL, which differ in biases and positions alone. Keys and values are projected
together; of the last layer queries, output and MLP are computed only where a reward is read, at each
row's last token: with 8 layers a tenth of the whole.
Shapes: T places, Q places with queries, R rows, H heads, K key-value heads, D sizes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel, LlamaRMSNorm
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VLDecoderLayer,
    Qwen2_5_VLRMSNorm,
    Qwen2_5_VLTextModel,
)

from align2llava.services.reward_model.tree.attention import Attend, Heads, TreeAttention
from align2llava.services.reward_model.tree.projection import Projection, projection
from align2llava.services.reward_model.tree.tree import Tree

LanguageModel = LlamaModel | Qwen2_5_VLTextModel
Places = Tensor | slice
EVERYWHERE = slice(None)


class Rotation(NamedTuple):
    """By how much queries and keys are turned for their positions, [T, 1, D]."""

    cos: Tensor
    sin: Tensor

    def at(self, places: Places) -> "Rotation":
        """Returns that of some places."""
        return Rotation(self.cos[places], self.sin[places])

    def of(self, states_THD: Tensor) -> Tensor:
        """Returns the states turned, as Llama turns them: each half by the other."""
        half = states_THD.shape[-1] // 2
        turned_THD = states_THD * self.cos
        turned_THD[..., :half].addcmul_(states_THD[..., half:], self.sin[..., :half], value=-1)
        turned_THD[..., half:].addcmul_(states_THD[..., :half], self.sin[..., half:])
        return turned_THD


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Norm:
    """Division by the root mean square."""

    weight_D: Tensor
    eps: float

    def __call__(self, hidden_TD: Tensor) -> Tensor:
        """Returns the hidden states normed."""
        return functional.rms_norm(hidden_TD, self.weight_D.shape, self.weight_D, self.eps)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One decoder layer."""

    head_dim: int
    attention_norm: Norm
    query: Projection
    key_value: Projection
    output: Projection
    mlp_norm: Norm
    gate: Projection
    up: Projection
    down: Projection

    def __call__(
        self, hidden_TD: Tensor, rotation: Rotation, attend: Attend, *, places: Places
    ) -> Tensor:
        """Returns the layer's output at these places, [Q, D]."""
        normed_TD = self.attention_norm(hidden_TD)
        query_QHD = rotation.at(places).of(self._heads(self.query(normed_TD[places])))
        key_TKD, value_TKD = self._heads(self.key_value(normed_TD)).chunk(2, dim=1)
        out_QHD = attend(Heads(query_QHD, rotation.of(key_TKD), value_TKD))
        hidden_QD = self.output.plus(out_QHD.flatten(1), hidden_TD[places])
        normed_QD = self.mlp_norm(hidden_QD)
        inner = self.up.times(normed_QD, self.gate.silu(normed_QD))
        return self.down.plus(inner, hidden_QD)

    def _heads(self, states: Tensor) -> Tensor:
        return states.unflatten(1, (-1, self.head_dim))


class Decoder:
    """The layers of a language model, which it takes away from it, over trees."""

    def __init__(self, language_model: LanguageModel, attention: TreeAttention) -> None:
        """Repacks the layers one by one, so that few weights are held twice at a time.

        Raises:
            TypeError: a layer is neither Llama's nor Qwen2.5-VL's, or its activation is not SiLU.
        """
        self._attention = attention
        self._rotary = language_model.rotary_emb
        self._norm = _norm(language_model.norm)
        self._layers: list[Layer] = []
        while len(language_model.layers):
            self._layers.append(packed(language_model.layers.pop(0)))

    def last_hidden(self, tree: Tree, *, embeds_TD: Tensor, position_ids: Tensor) -> Tensor:
        """Returns the normed hidden state of each row's last token, [R, D].

        `position_ids` as the language model takes them for a batch of one.
        """
        plan = self._attention.plan(tree, device=embeds_TD.device)
        cos_1TD, sin_1TD = self._rotary(embeds_TD.unsqueeze(0), position_ids)
        rotation = Rotation(cos_1TD[0].unsqueeze(1), sin_1TD[0].unsqueeze(1))
        hidden_TD = embeds_TD
        for layer in self._layers[:-1]:
            hidden_TD = layer(hidden_TD, rotation, plan.everywhere, places=EVERYWHERE)
        last = self._layers[-1]
        return self._norm(last(hidden_TD, rotation, plan.at_lasts, places=plan.lasts_R))


def packed(layer: nn.Module) -> Layer:
    """Returns a decoder layer of transformers, repacked.

    Raises:
        TypeError: it is neither Llama's nor Qwen2.5-VL's, or its activation is not SiLU.
    """
    if not isinstance(layer, LlamaDecoderLayer | Qwen2_5_VLDecoderLayer):
        raise TypeError(f"a layer is {type(layer).__name__}, neither Llama's nor Qwen2.5-VL's")
    if not isinstance(layer.mlp.act_fn, nn.SiLU | SiLUActivation):
        raise TypeError(f"the activation is {type(layer.mlp.act_fn).__name__}, not SiLU")
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        head_dim=attention.head_dim,
        attention_norm=_norm(layer.input_layernorm),
        query=_joined(attention.q_proj),
        key_value=_joined(attention.k_proj, attention.v_proj),
        output=_joined(attention.o_proj),
        mlp_norm=_norm(layer.post_attention_layernorm),
        gate=_joined(mlp.gate_proj),
        up=_joined(mlp.up_proj),
        down=_joined(mlp.down_proj),
    )


def _norm(norm: LlamaRMSNorm | Qwen2_5_VLRMSNorm) -> Norm:
    return Norm(weight_D=norm.weight, eps=norm.variance_epsilon)


def _joined(*layers: nn.Linear) -> Projection:
    """Returns linear layers of the same input as one, their outputs side by side."""
    if len(layers) == 1:
        return projection(layers[0].weight.detach(), layers[0].bias)
    weights = [layer.weight.detach() for layer in layers]
    biases = [
        one.detach() for layer in layers for name, one in layer.named_parameters() if name == "bias"
    ]
    return projection(torch.cat(weights), torch.cat(biases) if biases else None)
