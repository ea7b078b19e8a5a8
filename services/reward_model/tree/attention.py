"""Attention over token trees: what every way to compute it offers, and the way in one piece.

All ways compute the same: a place attends to its own row up to itself. Two more ways, in parts, are
`blocks.py` and `cascade.py`; `kernels.py` chooses. Shapes: T places, Q queries, R rows, H heads,
K key-value heads, D head size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from align2llava.services.reward_model.tree.tree import Tree, segments_of, visible


class Heads(NamedTuple):
    """What attention works on."""

    query_QHD: Tensor
    key_TKD: Tensor
    value_TKD: Tensor


Attend = Callable[[Heads], Tensor]  # returns [Q, H, D]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreePlan:
    """How the places of one tree attend; the same in every layer."""

    everywhere: Attend  # with a query of each place
    at_lasts: Attend  # with queries of `lasts_R` alone
    lasts_R: Tensor


class TreeAttention(Protocol):
    """One way to attend over trees."""

    @property
    def name(self) -> str:
        """What identities call it."""
        ...

    @property
    def joins_trees(self) -> bool:
        """Whether several trees in one forward cost no more than one after the other."""
        ...

    @property
    def min_shared(self) -> int:
        """What `tree.merge` should share at least below its first branching."""
        ...

    def plan(self, tree: Tree, *, device: torch.device) -> TreePlan:
        """Returns how a tree's places attend."""
        ...


def plan_of(tree: Tree, *, everywhere: Attend, device: torch.device) -> TreePlan:
    """Returns a plan whose last tokens attend by a mask: they are few."""
    seen_RT = torch.from_numpy(visible(tree, tree.lasts_R)).to(device)
    return TreePlan(
        everywhere=everywhere,
        at_lasts=lambda heads: masked(heads, seen_RT),
        lasts_R=torch.from_numpy(tree.lasts_R).to(device),
    )


def masked(heads: Heads, seen_QT: Tensor | None) -> Tensor:
    """Returns attention to the places that a mask lets see; without one it is causal."""
    query, key, value = (one.transpose(0, 1).unsqueeze(0) for one in heads)
    out_1HQD = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=seen_QT,
        is_causal=seen_QT is None,
        enable_gqa=key.shape[1] != query.shape[1],  # several query heads to one of keys and values
    )
    return out_1HQD[0].transpose(0, 1)


class DenseAttention:
    """A boolean mask over pairs of places: exact, and the reference.

    The trunk, which all rows share, attends causally and without a mask; only what branches off it
    needs one; a mask over everything would spend time on pairs that see nothing.
    """

    name = "a2l_dense"
    joins_trees = False
    min_shared = 1

    def plan(self, tree: Tree, *, device: torch.device) -> TreePlan:
        """Returns how a tree's places attend."""
        trunk = trunk_of(tree)
        branches_QT = torch.from_numpy(visible(tree, np.arange(trunk, tree.num_tokens))).to(device)

        def attend(heads: Heads) -> Tensor:
            out_THD = masked(Heads(*(one[:trunk] for one in heads)), None)
            if not len(branches_QT):
                return out_THD
            rest = Heads(heads.query_QHD[trunk:], heads.key_TKD, heads.value_TKD)
            return torch.cat([out_THD, masked(rest, branches_QT)])

        return plan_of(tree, everywhere=attend, device=device)


def trunk_of(tree: Tree) -> int:
    """Returns how many places from the first on lie on every row's path or before a branching."""
    return int(segments_of(tree)[1][0])
