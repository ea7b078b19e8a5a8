import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import BlockMask

from services.reward_model.attention import (
    CascadeAttention,
    DenseAttention,
    FlexAttention,
    Heads,
    Span,
    cascade,
    register_cascade,
    spans_of,
)
from services.reward_model.model import LlavaRewardModel
from services.reward_model.tree import Tree, joined, merge, visible

CPU = torch.device("cpu")
FORESTS = st.lists(
    st.lists(st.lists(st.integers(5, 7), min_size=1, max_size=7), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
)


def plain_varlen(span: Span, heads: Heads):
    """The variable-length kernel in plain torch, for machines without CUDA."""
    out_THD = torch.empty_like(heads.query_THD)
    lse_HT = torch.empty(heads.query_THD.shape[1], heads.query_THD.shape[0])
    for part in range(len(span.query_bounds) - 1):
        queries = slice(int(span.query_bounds[part]), int(span.query_bounds[part + 1]))
        keys = slice(int(span.key_bounds[part]), int(span.key_bounds[part + 1]))
        assert 0 < queries.stop - queries.start <= span.max_queries
        assert 0 < keys.stop - keys.start <= span.max_keys
        scores_HQK = (
            torch.einsum("qhd,khd->hqk", heads.query_THD[queries], heads.key_TKD[keys])
            / heads.query_THD.shape[2] ** 0.5
        )
        if span.is_causal:
            size = scores_HQK.shape[1]
            hidden = torch.ones(size, size, dtype=torch.bool).triu(1)
            scores_HQK = scores_HQK.masked_fill(hidden, -torch.inf)
        lse_HT[:, queries] = scores_HQK.logsumexp(dim=-1)
        out_THD[queries] = torch.einsum(
            "hqk,khd->qhd", scores_HQK.softmax(dim=-1), heads.value_TKD[keys]
        )
    return out_THD, lse_HT


def dense(heads: Heads, tree: Tree):
    """Attention by the definition: over the places that each place sees."""
    query, key, value = (one.transpose(0, 1) for one in heads)
    mask = torch.from_numpy(visible(tree))
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return out.transpose(0, 1)


@pytest.mark.parametrize("min_shared", [1, 3])
@given(forest=FORESTS)
def test_cascade_attends_as_the_mask_says(forest, min_shared: int):
    tree = joined([merge(rows, min_shared=min_shared) for rows in forest])
    generator = torch.Generator().manual_seed(0)
    heads = Heads(*(torch.randn(tree.num_tokens, 2, 4, generator=generator) for _ in range(3)))
    ours = cascade(heads, spans=spans_of(tree, device=CPU), varlen=plain_varlen)
    torch.testing.assert_close(ours, dense(heads, tree), atol=1e-5, rtol=0)


def test_a_tree_of_one_image_needs_one_pass_for_each_level():
    image = list(range(10, 20))
    rows = [[*image, 5, 5, 5], [*image, 5, 5, 6], [*image, 7]]
    assert len(spans_of(merge(rows), device=CPU)) == 3
    assert len(spans_of(merge(rows, min_shared=3), device=CPU)) == 2
    assert len(spans_of(merge(rows[:1]), device=CPU)) == 1


def test_cascade_attention_gives_the_rewards_of_the_dense_mask(tiny_model: LlavaRewardModel):
    register_cascade(plain_varlen)
    start = [1, 4, 4, 4, 4]
    forest = [
        [[*start, 10, 11, 12], [*start, 10, 11, 13, 14], [*start, 10, 11]],
        [[*start, 15], [*start, 16, 17]],
    ]
    tree = joined([merge(rows) for rows in forest])
    features = [torch.randn(4, 16), torch.randn(4, 16)]
    rewards = []
    for way in (DenseAttention(), CascadeAttention()):
        tiny_model.set_attention(way)
        with torch.inference_mode():
            reward_R = tiny_model.tree_rewards(tree, tree.depths_T[None], features, attention=way)
        rewards.append(reward_R)
    torch.testing.assert_close(rewards[0], rewards[1], atol=1e-5, rtol=0)
    assert len(set(np.round(rewards[0].tolist(), 5))) == 5


@given(forest=FORESTS)
def test_the_block_mask_of_flex_attention_lets_each_place_see_its_own_row(forest):
    tree = joined([merge(rows) for rows in forest])
    mask = FlexAttention().inputs(tree, device=CPU)["attention_mask"]
    assert isinstance(mask, BlockMask)
    places = torch.arange(tree.num_tokens)
    zero = torch.tensor(0)
    seen = mask.mask_mod(zero, zero, places[:, None], places[None, :])
    assert torch.equal(seen, torch.from_numpy(visible(tree)))


def test_only_what_branches_off_the_trunk_needs_a_mask():
    tree = merge([[1, 2, 3], [1, 2, 4, 5]])
    inputs = DenseAttention().inputs(tree, device=CPU)
    assert inputs["trunk"] == 2
    assert torch.equal(inputs["branches"], torch.from_numpy(visible(tree)[2:]))
    chain = DenseAttention().inputs(merge([[1, 2], [1, 2, 3]]), device=CPU)
    assert chain["trunk"] == 3
    assert len(chain["branches"]) == 0
