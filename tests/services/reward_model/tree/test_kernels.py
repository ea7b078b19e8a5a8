import inspect

import pytest
import torch

from align2llava.services.reward_model.tree.attention import DenseAttention, Heads
from align2llava.services.reward_model.tree.blocks import BlockAttention
from align2llava.services.reward_model.tree.kernels import (
    VarlenKernel,
    attention_for,
    half_attention,
    varlen_attn,
)
from align2llava.services.reward_model.tree.shared_prefix import CascadeAttention, Span

CPU = torch.device("cpu")
AMPERE, TURING = (8, 0), (7, 5)


class CalledError(Exception):
    """What a fake kernel was called with, by name."""


def in_torch_2_11(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None,
    window_size=(-1, -1),
):  # fmt: skip
    raise CalledError(locals())


def in_torch_2_13(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None,
    window_size=(-1, -1), enable_gqa=False, seqused_k=None, block_table=None, num_splits=None,
):  # fmt: skip
    raise CalledError(locals())


def words_to(kernel, *, key_heads: int) -> dict[str, object]:
    bounds = torch.tensor([0, 3], dtype=torch.int32)
    span = Span(
        queries=slice(0, 3),
        keys=slice(0, 3),
        query_bounds=bounds,
        key_bounds=bounds,
        max_queries=3,
        max_keys=3,
        is_causal=True,
    )
    heads = Heads(*(torch.zeros(3, number, 8) for number in (4, key_heads, key_heads)))
    with pytest.raises(CalledError) as caught:
        VarlenKernel(kernel)(span, heads)
    return caught.value.args[0]


def test_float32_on_cuda_keeps_the_mask_and_a_cpu_never_joins_trees():
    assert isinstance(attention_for(torch.device("cuda"), torch.float32), DenseAttention)
    for dtype in (torch.float32, torch.bfloat16):
        on_cpu = attention_for(CPU, dtype)
        assert isinstance(on_cpu, BlockAttention)
        assert not on_cpu.joins_trees


def test_half_precision_takes_the_kernel_where_torch_and_the_gpu_have_it():
    assert isinstance(half_attention(in_torch_2_11, capability=AMPERE), CascadeAttention)
    assert isinstance(half_attention(in_torch_2_11, capability=(9, 0)), CascadeAttention)


@pytest.mark.parametrize(("kernel", "capability"), [(None, AMPERE), (in_torch_2_13, TURING)])
def test_half_precision_keeps_the_mask_elsewhere_and_says_so(kernel, capability, caplog):
    assert isinstance(half_attention(kernel, capability=capability), DenseAttention)
    assert "varlen_attn" in caplog.text


@pytest.mark.parametrize("key_heads", [4, 2])
def test_torch_2_11_is_not_asked_to_share_heads(key_heads):
    assert "enable_gqa" not in words_to(in_torch_2_11, key_heads=key_heads)


def test_torch_2_13_is_asked_to_share_heads_where_they_are_shared():
    assert words_to(in_torch_2_13, key_heads=2)["enable_gqa"] is True
    assert words_to(in_torch_2_13, key_heads=4)["enable_gqa"] is False


def test_the_kernel_of_this_torch_knows_every_word_that_it_is_called_with():
    assert varlen_attn is not None
    words = words_to(in_torch_2_13, key_heads=2)
    given = {name for name, value in words.items() if value is not None}
    assert given <= inspect.signature(varlen_attn).parameters.keys()
