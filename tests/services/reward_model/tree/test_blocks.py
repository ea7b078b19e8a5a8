import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align2llava.services.reward_model.tree import blocks
from align2llava.services.reward_model.tree.attention import DenseAttention, Heads
from align2llava.services.reward_model.tree.blocks import BLOCK, BlockAttention, blocks_of
from align2llava.services.reward_model.tree.tree import joined, merge
from tests.services.reward_model.tree.test_attention import CPU, FORESTS


def heads_of(num_places: int) -> Heads:
    generator = torch.Generator().manual_seed(0)
    return Heads(*(torch.randn(num_places, heads, 8, generator=generator) for heads in (4, 2, 2)))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)], ids=str
)
@given(forest=FORESTS, block=st.integers(1, 9))
def test_blocks_attend_as_the_mask_says(dtype, tolerance, forest, block: int):
    tree = joined([merge(rows, min_shared=2) for rows in forest])
    heads = heads_of(tree.num_tokens)
    exact = DenseAttention().plan(tree, device=CPU).everywhere(heads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        ours = BlockAttention().plan(tree, device=CPU)
    found = ours.everywhere(Heads(*(one.to(dtype) for one in heads)))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), exact, atol=tolerance, rtol=0)


def test_no_product_is_with_keys_that_no_query_of_it_sees():
    image = list(range(300))
    tree = merge([[*image, 1000 + row, *range(40)] for row in range(5)])
    computed = 0
    for block in blocks_of(tree, device=CPU):
        for queries, keys, depths in block.parts:
            num_keys = keys.stop - keys.start
            assert depths.stop - depths.start == num_keys
            computed += (queries.stop - queries.start) * num_keys
    seen = 300 * 301 / 2 + 5 * 41 * (300 + 21)
    assert seen <= computed <= seen + tree.num_tokens * BLOCK / 2
