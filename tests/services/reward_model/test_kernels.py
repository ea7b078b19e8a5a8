import pytest
import torch
from hypothesis import given

from services.reward_model.attention import DenseAttention, Heads
from services.reward_model.cascade import CascadeAttention
from services.reward_model.kernels import attention_for, cpu_varlen
from services.reward_model.tree import joined, merge
from tests.services.reward_model.test_attention import CPU, FORESTS


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)], ids=str
)
@given(forest=FORESTS)
def test_on_a_cpu_cascade_attends_as_the_mask_says(dtype, tolerance, forest):
    tree = joined([merge(rows, min_shared=2) for rows in forest])
    generator = torch.Generator().manual_seed(0)
    heads = Heads(
        *(torch.randn(tree.num_tokens, heads, 8, generator=generator) for heads in (4, 2, 2))
    )
    exact = DenseAttention().plan(tree, device=CPU).everywhere(heads)
    ours = CascadeAttention(cpu_varlen, joins_trees=False).plan(tree, device=CPU)
    found = ours.everywhere(Heads(*(one.to(dtype) for one in heads)))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), exact, atol=tolerance, rtol=0)


def test_float32_on_cuda_keeps_the_mask_and_a_cpu_never_joins_trees():
    assert isinstance(attention_for(torch.device("cuda"), torch.float32), DenseAttention)
    on_cpu = attention_for(CPU, torch.bfloat16)
    assert isinstance(on_cpu, CascadeAttention)
    assert not on_cpu.joins_trees
