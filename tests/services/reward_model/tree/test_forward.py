import pytest
import torch
from torch import nn

from align2llava.services.reward_model.tree.forward import reward_of, tree_embeds
from align2llava.services.reward_model.tree.tree import joined, merge

IMAGE = 9
FIRST, SECOND = torch.full((3, 2), 10.0), torch.full((2, 2), 20.0)


def embeds(*forest: list[list[int]], features) -> list[float]:
    """The embeddings of a forest whose token `n` is embedded as (n, n)."""
    table = nn.Embedding(10, 2)
    with torch.no_grad():
        table.weight.copy_(torch.arange(10.0)[:, None].expand(-1, 2))
        found_TD = tree_embeds(
            table, joined([merge(rows) for rows in forest]), features, image=IMAGE
        )
    return found_TD[:, 0].tolist()


def test_each_image_stands_where_its_tree_holds_the_image_id():
    found = embeds([[1, 9, 9, 9, 4], [1, 9, 9, 9, 5]], [[1, 9, 9, 6]], features=[FIRST, SECOND])
    assert found == [1, 10, 10, 10, 4, 5, 1, 20, 20, 6]


def test_trees_without_an_image_take_none_however_many_roots_they_have():
    found = embeds([[2], [3, 4]], [[1, 9, 9, 6]], [[5]], features=[None, SECOND, None])
    assert found == [2, 3, 4, 1, 20, 20, 6, 5]


@pytest.mark.parametrize(("row", "found"), [([1, 9], [1, 10]), ([1], [1])], ids=["in", "before"])
def test_a_row_cut_in_or_before_its_image_takes_what_it_has_places_for(row, found):
    assert embeds([row], features=[FIRST]) == found


def test_rewards_are_float32_whatever_the_weights():
    head = nn.Linear(2, 1, bias=False).bfloat16()
    assert reward_of(torch.ones(4, 2, dtype=torch.bfloat16), head).dtype == torch.float32
