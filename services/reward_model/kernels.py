"""Chooses how a device attends over token trees. Imports what this torch has, and nothing else.

Shapes: T places, H heads, D head size.
"""

import logging

import torch
from torch import Tensor

from services.reward_model.attention import (
    DenseAttention,
    FlexAttention,
    Heads,
    TreeAttention,
)
from services.reward_model.blocks import BlockAttention
from services.reward_model.cascade import CascadeAttention, Span

try:
    from torch.nn.attention.varlen import AuxRequest, varlen_attn
except ImportError:  # torch 2.11 may lack it
    AuxRequest = varlen_attn = None

logger = logging.getLogger(__name__)


def attention_for(device: torch.device, dtype: torch.dtype) -> TreeAttention:
    """Returns the fastest attention over trees that is exact for this device and type.

    CUDA's variable-length kernel takes half precision only; float32 keeps the dense mask there.
    """
    if device.type == "cpu":
        return BlockAttention()
    if dtype == torch.float32:
        return DenseAttention()
    if varlen_attn is None:
        logger.warning(
            "torch %s has no varlen_attn; trees are scored with FlexAttention", torch.__version__
        )
        return FlexAttention()
    return CascadeAttention(cuda_varlen)


def cuda_varlen(span: Span, heads: Heads) -> tuple[Tensor, Tensor]:
    """Returns a span's attention, [T, H, D], and its log-sum-exp, [H, T]."""
    assert varlen_attn is not None
    assert AuxRequest is not None
    out_THD, lse_HT = varlen_attn(
        *heads,
        span.query_bounds,
        span.key_bounds,
        span.max_queries,
        span.max_keys,
        return_aux=AuxRequest(lse=True),
        window_size=(-1, 0) if span.is_causal else (-1, -1),
        enable_gqa=heads.key_TKD.shape[1] != heads.query_QHD.shape[1],
    )
    return out_THD, lse_HT
