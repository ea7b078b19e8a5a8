import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align2llava.services.reward_model.tree.attention import DenseAttention, Heads
from align2llava.services.reward_model.tree.shared_prefix import Span, cascade, spans_of
from align2llava.services.reward_model.tree.tree import joined, merge

CPU = torch.device("cpu")
FORESTS = st.lists(
    st.lists(st.lists(st.integers(5, 7), min_size=1, max_size=7), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
)


def plain_varlen(span: Span, heads: Heads):
    """The variable-length kernel in plain torch, for machines without CUDA."""
    out_THD = torch.empty_like(heads.query_QHD)
    lse_HT = torch.empty(heads.query_QHD.shape[1], heads.query_QHD.shape[0])
    for part in range(len(span.query_bounds) - 1):
        queries = slice(int(span.query_bounds[part]), int(span.query_bounds[part + 1]))
        keys = slice(int(span.key_bounds[part]), int(span.key_bounds[part + 1]))
        assert 0 < queries.stop - queries.start <= span.max_queries
        assert 0 < keys.stop - keys.start <= span.max_keys
        scores_HQK = (
            torch.einsum("qhd,khd->hqk", heads.query_QHD[queries], heads.key_TKD[keys])
            / heads.query_QHD.shape[2] ** 0.5
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


@pytest.mark.parametrize("min_shared", [1, 3])
@given(forest=FORESTS)
def test_cascade_attends_as_the_mask_says(forest, min_shared: int):
    tree = joined([merge(rows, min_shared=min_shared) for rows in forest])
    generator = torch.Generator().manual_seed(0)
    heads = Heads(*(torch.randn(tree.num_tokens, 2, 4, generator=generator) for _ in range(3)))
    ours = cascade(heads, spans=spans_of(tree, device=CPU), varlen=plain_varlen)
    expected = DenseAttention().plan(tree, device=CPU).everywhere(heads)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_tree_of_one_image_needs_one_pass_for_each_level():
    image = list(range(10, 20))
    rows = [[*image, 5, 5, 5], [*image, 5, 5, 6], [*image, 7]]
    assert len(spans_of(merge(rows), device=CPU)) == 3
    assert len(spans_of(merge(rows, min_shared=3), device=CPU)) == 2
    assert len(spans_of(merge(rows[:1]), device=CPU)) == 1
