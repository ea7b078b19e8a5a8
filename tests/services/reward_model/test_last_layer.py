import pytest
import torch
from torch import nn

from services.reward_model.attention import DenseAttention
from services.reward_model.last_layer import prune
from services.reward_model.model import LlavaRewardModel
from services.reward_model.tree import joined, merge

START = [1, 4, 4, 4, 4]
FOREST = [[[*START, 10, 11], [*START, 10, 11, 12], [*START, 13]], [[*START, 14, 15]]]


def test_pruned_rewards_are_those_of_the_whole_layer(tiny_model: LlavaRewardModel):
    tree = joined([merge(rows) for rows in FOREST])
    features = [torch.randn(4, 16), torch.randn(4, 16)]
    attention = DenseAttention()
    layer = tiny_model.llava.language_model.layers[-1]
    tiny_model.set_attention(attention)
    shapes: list[torch.Size] = []
    layer.register_forward_hook(lambda _layer, _inputs, output: shapes.append(output.shape))
    with torch.inference_mode():
        pruned_R = tiny_model.tree_rewards(tree, tree.depths_T[None], features, attention=attention)
        tiny_model.llava.language_model.set_attn_implementation("sdpa")
        whole = [
            tiny_model(
                torch.tensor([row]),
                torch.ones(1, len(row), dtype=torch.long),
                features[place][None],
            )
            for place, rows in enumerate(FOREST)
            for row in rows
        ]
    torch.testing.assert_close(pruned_R, torch.cat(whole), atol=1e-5, rtol=0)
    assert shapes[0] == (1, 4, 16)  # four rows, not all places


def test_a_layer_of_another_family_is_refused():
    with pytest.raises(TypeError, match="Linear, not Llama's"):
        prune(nn.Linear(2, 2))
