"""What stands around the layers in a forward over a token tree: embeddings with image features, a head.

The same for every family. Shapes: T places, R rows, P image tokens, D hidden size.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from align2llava.services.reward_model.tree.tree import Tree


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


def reward_of(hidden_RD: Tensor, score: nn.Linear) -> Tensor:
    """Returns the head's output for hidden states, in float32 whatever their type, [R]."""
    return nn.functional.linear(hidden_RD.float(), score.weight.float()).squeeze(-1)
