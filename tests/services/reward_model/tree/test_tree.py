from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align2llava.services.reward_model.tree.tree import (
    Tree,
    joined,
    merge,
    num_shared,
    parted,
    visible,
)

# Few different tokens, so that rows share beginnings, repeat and are prefixes of one another.
ROWS = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=8).map(lambda tail: [9, 9, 9, *tail]),
    min_size=1,
    max_size=8,
)
FREE_ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=8)


def path_of(tree: Tree, place: int) -> list[int]:
    """Returns the tokens that a place attends to, in order."""
    return tree.ids_T[np.flatnonzero(visible(tree)[place])].tolist()


@pytest.mark.parametrize("min_shared", [1, 2, 5])
@given(rows=FREE_ROWS)
def test_each_row_attends_to_itself_and_to_nothing_else(rows: list[list[int]], min_shared: int):
    tree = merge(rows, min_shared=min_shared)
    for row, last in zip(rows, tree.lasts_R, strict=True):
        assert path_of(tree, last) == row
        seen = np.flatnonzero(visible(tree)[last])
        assert tree.depths_T[seen].tolist() == list(range(len(row)))


@given(rows=FREE_ROWS)
def test_no_shared_beginning_is_computed_twice(rows: list[list[int]]):
    beginnings = {tuple(row[:length]) for row in rows for length in range(1, len(row) + 1)}
    assert merge(rows).num_tokens == len(beginnings)


@given(rows=ROWS)
def test_the_root_is_shared_however_little_is_worth_sharing_below_it(rows: list[list[int]]):
    tree = merge(rows, min_shared=100)
    assert tree.depths_T.tolist().count(0) == 1


@given(rows=FREE_ROWS)
def test_a_place_names_a_row_that_holds_it_there(rows: list[list[int]]):
    tree = merge(rows)
    for token, depth, row in zip(tree.ids_T, tree.depths_T, tree.sources_T, strict=True):
        assert rows[row][depth] == token


@given(rows=FREE_ROWS)
def test_a_chain_is_a_tree_without_branches(rows: list[list[int]]):
    ordered = sorted(rows)
    is_path = all(longer[: len(shorter)] == shorter for shorter, longer in pairwise(ordered))
    assert merge(rows).is_chain == is_path


@given(rows=FREE_ROWS, max_tokens=st.integers(1, 20))
def test_parts_hold_every_row_once_within_the_budget(rows: list[list[int]], max_tokens: int):
    parts = parted(rows, max_tokens=max_tokens)
    assert sorted(row for part in parts for row in part) == list(range(len(rows)))
    for part in parts:
        tokens = merge([rows[row] for row in part]).num_tokens
        assert tokens <= max_tokens or len({tuple(rows[row]) for row in part}) == 1


@given(forest=st.lists(FREE_ROWS, min_size=1, max_size=4))
def test_joined_trees_do_not_see_one_another(forest: list[list[list[int]]]):
    tree = joined([merge(rows) for rows in forest])
    rows = [row for rows in forest for row in rows]
    assert [path_of(tree, last) for last in tree.lasts_R] == rows
    assert [
        rows[source][depth] for source, depth in zip(tree.sources_T, tree.depths_T, strict=True)
    ] == tree.ids_T.tolist()


def test_shared_tokens_are_counted_to_the_first_difference():
    assert num_shared([1, 2, 3], [1, 2, 4, 5]) == 2
    assert num_shared([1, 2], [1, 2, 3]) == 2
    assert num_shared([], [1]) == 0


@pytest.mark.parametrize("rows", [[], [[1], []]], ids=["no rows", "an empty row"])
def test_what_has_no_last_token_makes_no_tree(rows: list[list[int]]):
    with pytest.raises(ValueError, match="at least one row"):
        merge(rows)
