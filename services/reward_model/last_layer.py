"""The last decoder layer, computed only where a reward is read: at each row's last token.

Keys and values are needed of every place, but queries, output and the MLP only of those few: with 8
layers a tenth of the whole. For Llama's layer. Shapes: T places, R rows, H heads, K key-value heads.
"""

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, rotate_half

from services.reward_model.attention import LASTS


def prune(layer: nn.Module) -> None:
    """Makes a layer compute the places named by its input `lasts` alone, where there is one.

    Raises:
        TypeError: it is no Llama layer.
    """
    if not isinstance(layer, LlamaDecoderLayer):
        raise TypeError(f"the last layer is {type(layer).__name__}, not Llama's")

    def forward(hidden_states: Tensor, **inputs: object) -> Tensor:
        if LASTS in inputs:
            return _at_lasts(layer, hidden_states[0], inputs).unsqueeze(0)
        return LlamaDecoderLayer.forward(layer, hidden_states, **inputs)  # pyright: ignore[reportArgumentType]  (passed on as they came)

    layer.forward = forward  # pyright: ignore[reportAttributeAccessIssue]  (it is called by keywords only)


def _at_lasts(layer: LlamaDecoderLayer, hidden_TD: Tensor, inputs: dict[str, object]) -> Tensor:
    """Returns the layer's output at the rows' last tokens, [R, D]."""
    lasts_R, seen_RT, embeddings = inputs[LASTS], inputs["seen"], inputs["position_embeddings"]
    assert isinstance(lasts_R, Tensor)
    assert isinstance(seen_RT, Tensor)
    assert isinstance(embeddings, tuple)
    cos_1TD, sin_1TD = embeddings
    attention = layer.self_attn
    normed_TD = layer.input_layernorm(hidden_TD)
    query = _heads(attention.q_proj(normed_TD[lasts_R]), attention.head_dim)
    key = _heads(attention.k_proj(normed_TD), attention.head_dim)
    value = _heads(attention.v_proj(normed_TD), attention.head_dim)
    query = _rotated(query, cos_1TD[:, lasts_R], sin_1TD[:, lasts_R])
    key = _rotated(key, cos_1TD, sin_1TD)
    out = scaled_dot_product_attention(
        query, key, value, attn_mask=seen_RT, enable_gqa=key.shape[1] != query.shape[1]
    )
    hidden_RD = hidden_TD[lasts_R] + attention.o_proj(out[0].transpose(0, 1).flatten(1))
    return hidden_RD + layer.mlp(layer.post_attention_layernorm(hidden_RD))


def _heads(states: Tensor, head_dim: int) -> Tensor:
    """Returns [T, heads x D] as [1, heads, T, D]."""
    return states.unflatten(1, (-1, head_dim)).transpose(0, 1).unsqueeze(0)


def _rotated(states: Tensor, cos_1TD: Tensor, sin_1TD: Tensor) -> Tensor:
    """Returns queries or keys turned by their positions, as Llama turns them."""
    return states * cos_1TD.unsqueeze(1) + rotate_half(states) * sin_1TD.unsqueeze(1)
