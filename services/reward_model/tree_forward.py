"""A forward over a token tree: image features put in place, the language model run, a scalar head.

The same for every family. Shapes: T places, R rows, P image tokens, D hidden size.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from services.reward_model.attention import LASTS, TreeAttention
from services.reward_model.tree import Tree


def tree_embeds(
    embed_tokens: nn.Module, tree: Tree, features: Sequence[Tensor | None], *, image: int
) -> Tensor:
    """Returns the input embeddings of a tree's places, [T, D].

    `features` holds the image tokens, [P, D], of each tree that was joined, or None, in order; they
    stand where the tree holds the id `image`. Rows cut inside their image take the first of them,
    rows cut before it none.
    """
    device = next(embed_tokens.parameters()).device
    is_image_T = tree.ids_T == image
    ids_T = torch.from_numpy(np.where(is_image_T, 0, tree.ids_T)).to(device)
    embeds_TD = embed_tokens(ids_T)
    roots = np.append(np.flatnonzero(tree.depths_T == 0), tree.num_tokens)
    counts = [int(is_image_T[start:end].sum()) for start, end in pairwise(roots)]
    if any(counts):
        images = [one for one in features if one is not None]
        used = zip(images, filter(None, counts), strict=True)
        places = torch.from_numpy(np.flatnonzero(is_image_T)).to(device)
        embeds_TD[places] = torch.cat([one_PD[:count] for one_PD, count in used])
    return embeds_TD


def last_hidden(
    language_model: nn.Module,
    tree: Tree,
    *,
    embeds_TD: Tensor,
    position_ids: Tensor,
    attention: TreeAttention,
    is_pruned: bool,
) -> Tensor:
    """Returns the hidden state of each row's last token, [R, D].

    `position_ids` as the language model takes them for a batch of one; `is_pruned` where its last
    layer is that of `last_layer.prune`.
    """
    device = embeds_TD.device
    inputs = attention.inputs(tree, device=device)
    hidden_1TD = language_model(
        inputs_embeds=embeds_TD.unsqueeze(0), position_ids=position_ids, use_cache=False, **inputs
    ).last_hidden_state
    if is_pruned and LASTS in inputs:  # the last layer gave nothing else
        return hidden_1TD[0]
    return hidden_1TD[0, torch.from_numpy(tree.lasts_R).to(device)]


def reward_of(hidden_RD: Tensor, score: nn.Linear) -> Tensor:
    """Returns the head's output for hidden states, in float32 whatever their type, [R]."""
    return nn.functional.linear(hidden_RD.float(), score.weight.float()).squeeze(-1)
