import copy

import pytest
import torch
from torch import nn

from align2llava.services.reward_model.llava.model import LlavaRewardModel
from align2llava.services.reward_model.tree.attention import DenseAttention, TreeAttention
from align2llava.services.reward_model.tree.blocks import BlockAttention
from align2llava.services.reward_model.tree.decoder import packed
from align2llava.services.reward_model.tree.shared_prefix import CascadeAttention
from align2llava.services.reward_model.tree.tree import joined, merge
from tests.services.reward_model.tree.test_shared_prefix import plain_varlen

START = [1, 4, 4, 4, 4]
FOREST = [
    [[*START, 10, 11, 12], [*START, 10, 11, 13, 14], [*START, 10, 11]],
    [[*START, 15], [*START, 16, 17]],
]


@pytest.mark.parametrize(
    "attention",
    [DenseAttention(), CascadeAttention(plain_varlen), BlockAttention()],
    ids=["mask", "cascade", "blocks"],
)
def test_rewards_of_trees_are_those_of_transformers_layers_row_by_row(
    tiny_model: LlavaRewardModel, attention: TreeAttention
):
    tree = joined([merge(rows) for rows in FOREST])
    features = [torch.randn(4, 16), torch.randn(4, 16)]
    of_trees = copy.deepcopy(tiny_model)
    of_trees.pack(attention)
    with torch.inference_mode():
        reward_R = of_trees.tree_rewards(tree, tree.depths_T[None], features)
        alone = [
            tiny_model(
                torch.tensor([row]),
                torch.ones(1, len(row), dtype=torch.long),
                features[place][None],
            )
            for place, rows in enumerate(FOREST)
            for row in rows
        ]
    torch.testing.assert_close(reward_R, torch.cat(alone), atol=1e-5, rtol=0)


def test_packing_gives_up_the_layers_it_was_made_of(tiny_model: LlavaRewardModel):
    tiny_model.pack(DenseAttention())
    assert len(tiny_model.llava.language_model.layers) == 0


def test_a_layer_of_another_family_is_refused():
    with pytest.raises(TypeError, match="Linear, neither Llama's nor Qwen"):
        packed(nn.Linear(2, 2))


def test_another_activation_than_silu_is_refused(tiny_model: LlavaRewardModel):
    layer = tiny_model.llava.language_model.layers[0]
    layer.mlp.act_fn = nn.GELU()
    with pytest.raises(TypeError, match="the activation is GELU, not SiLU"):
        packed(layer)
