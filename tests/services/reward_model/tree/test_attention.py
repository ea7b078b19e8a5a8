import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from align2llava.services.reward_model.tree.attention import DenseAttention, Heads, trunk_of
from align2llava.services.reward_model.tree.tree import Tree, joined, merge, visible

CPU = torch.device("cpu")
FORESTS = st.lists(
    st.lists(st.lists(st.integers(5, 7), min_size=1, max_size=7), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
)


def by_definition(heads: Heads, tree: Tree) -> torch.Tensor:
    """Attention of each place over the places that it sees, every key head for two of queries."""
    key_THD, value_THD = (one.repeat_interleave(2, dim=1) for one in heads[1:])
    scores_HTT = torch.einsum("qhd,khd->hqk", heads.query_QHD, key_THD) / 2.0
    hidden_TT = torch.from_numpy(~visible(tree))
    weights_HTT = scores_HTT.masked_fill(hidden_TT, -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", weights_HTT, value_THD)


@given(forest=FORESTS)
def test_a_place_attends_to_its_own_row_up_to_itself(forest):
    tree = joined([merge(rows) for rows in forest])
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(tree.num_tokens, heads, 4, generator=generator) for heads in (4, 2, 2)
    )
    plan = DenseAttention().plan(tree, device=CPU)
    expected = by_definition(Heads(query, key, value), tree)
    everywhere = plan.everywhere(Heads(query, key, value))
    torch.testing.assert_close(everywhere, expected, atol=1e-5, rtol=0)
    at_lasts = plan.at_lasts(Heads(query[plan.lasts_R], key, value))
    torch.testing.assert_close(at_lasts, expected[tree.lasts_R], atol=1e-5, rtol=0)


def test_the_trunk_ends_where_rows_part():
    assert trunk_of(merge([[1, 2, 3], [1, 2, 4, 5]])) == 2
    assert trunk_of(merge([[1, 2], [1, 2, 3]])) == 3


def test_what_some_places_see_are_those_rows_of_the_whole():
    tree = merge([[1, 2, 3], [1, 2, 4, 5]])
    some = np.array([3, 1])
    assert np.array_equal(visible(tree, some), visible(tree)[some])
