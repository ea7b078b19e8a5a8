import torch

from services.reward_model.attention import DenseAttention
from services.reward_model.blocks import BlockAttention
from services.reward_model.kernels import attention_for

CPU = torch.device("cpu")


def test_float32_on_cuda_keeps_the_mask_and_a_cpu_never_joins_trees():
    assert isinstance(attention_for(torch.device("cuda"), torch.float32), DenseAttention)
    for dtype in (torch.float32, torch.bfloat16):
        on_cpu = attention_for(CPU, dtype)
        assert isinstance(on_cpu, BlockAttention)
        assert not on_cpu.joins_trees
