"""Chooses how a device attends over token trees. Imports what this torch has, and nothing else.

Shapes: T places, H heads, D head size.
"""

import inspect
import logging
from collections.abc import Callable

import torch
from torch import Tensor

from align2llava.services.reward_model.tree.attention import DenseAttention, Heads, TreeAttention
from align2llava.services.reward_model.tree.blocks import BlockAttention
from align2llava.services.reward_model.tree.shared_prefix import CascadeAttention, Span

try:
    from torch.nn.attention.varlen import AuxRequest, varlen_attn
except ImportError:  # torch 2.11 may lack it
    AuxRequest = varlen_attn = None

logger = logging.getLogger(__name__)

Kernel = Callable[..., Tensor | tuple[Tensor, Tensor]]  # torch's `varlen_attn`
VARLEN_CAPABILITY = (8, 0)  # of the GPUs that its kernel is built for: Ampere and younger


def attention_for(device: torch.device, dtype: torch.dtype) -> TreeAttention:
    """Returns the fastest attention over trees that is exact for this device and type."""
    if device.type == "cpu":
        return BlockAttention()
    # It takes half precision only, so that nobody has to ask the device for float32.
    if dtype == torch.float32:
        return DenseAttention()
    return half_attention(varlen_attn, capability=torch.cuda.get_device_capability(device))


def half_attention(kernel: Kernel | None, *, capability: tuple[int, int]) -> TreeAttention:
    """Returns the attention in half precision on a GPU of this compute capability.

    The dense mask where the variable-length kernel is missing, or not built for the GPU.
    """
    if kernel is None:
        logger.warning("torch %s has no varlen_attn: trees are scored slowly", torch.__version__)
        return DenseAttention()
    if capability < VARLEN_CAPABILITY:
        logger.warning(
            "the GPU has compute capability %d.%d, varlen_attn needs %d.%d: trees are scored slowly",
            *capability,
            *VARLEN_CAPABILITY,
        )
        return DenseAttention()
    return CascadeAttention(VarlenKernel(kernel))


class VarlenKernel:
    """Torch's `varlen_attn`, called with the words that its signature has.

    `enable_gqa` came after torch 2.11, which shares heads unasked; where it exists it is needed.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._asks_for_gqa = "enable_gqa" in inspect.signature(kernel).parameters

    def __call__(self, span: Span, heads: Heads) -> tuple[Tensor, Tensor]:
        """Returns a span's attention, [T, H, D], and its log-sum-exp, [H, T]."""
        assert AuxRequest is not None
        is_shared = heads.key_TKD.shape[1] != heads.query_QHD.shape[1]
        out_THD, lse_HT = self._kernel(
            *heads,
            span.query_bounds,
            span.key_bounds,
            span.max_queries,
            span.max_keys,
            return_aux=AuxRequest(lse=True),
            window_size=(-1, 0) if span.is_causal else (-1, -1),
            **({"enable_gqa": True} if is_shared and self._asks_for_gqa else {}),
        )
        return out_THD, lse_HT
