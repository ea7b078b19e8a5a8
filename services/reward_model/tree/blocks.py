"""Attention over token trees by blocks of queries: two products and a softmax each, for CPUs.

On a place's path each depth is one place, so the scores of a block of places are a matrix over depths:
every run of the tree without branching fills its depths for the places below it, and no score is
computed twice. What lies deeper than a place in its block's columns is masked; nothing else is.
Shapes: T places, B places of a block, W depths, H heads, K key-value heads, D head size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from align2llava.services.reward_model.tree.attention import Heads, TreePlan, plan_of
from align2llava.services.reward_model.tree.tree import Tree, segments_of

BLOCK = 64  # places: the scores of eight heads over 500 depths are 1 MB, a second-level cache
MIN_SHARED = 16  # fewer shared tokens do not repay the products of one more run


class Part(NamedTuple):
    """A run of keys and the queries of a block that see it; `depths` are the keys' columns."""

    queries: slice  # within the block
    keys: slice
    depths: slice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Places that follow one another; `hidden` = what they do not see of the depths from `shallow` on."""

    places: slice
    num_depths: int
    parts: tuple[Part, ...]
    shallow: int
    hidden_BW: Tensor


class BlockAttention:
    """Attention by blocks of queries, computed in float32."""

    name = "a2l_blocks"
    joins_trees = False
    min_shared = MIN_SHARED

    def plan(self, tree: Tree, *, device: torch.device) -> TreePlan:
        """Returns how a tree's places attend."""
        blocks = blocks_of(tree, device=device)
        return plan_of(tree, everywhere=lambda heads: _attended(heads, blocks), device=device)


def blocks_of(tree: Tree, *, device: torch.device) -> tuple[Block, ...]:
    """Returns a tree's places in blocks of at most `BLOCK`."""
    runs = [tuple(run) for run in np.stack(segments_of(tree), axis=1).tolist()]
    return tuple(
        _block(tree, start, runs=runs, device=device) for start in range(0, tree.num_tokens, BLOCK)
    )


def _block(tree: Tree, start: int, *, runs: list[tuple[int, ...]], device: torch.device) -> Block:
    end = min(start + BLOCK, tree.num_tokens)
    depths_B = tree.depths_T[start:end]
    num_depths, shallow = int(depths_B.max()) + 1, int(depths_B.min()) + 1
    parts: list[Part] = []
    for first, last, below in runs:
        if first < end and below > start:
            stop = min(last, end)  # keys after the block are seen by none of it
            depth = int(tree.depths_T[first])
            parts.append(
                Part(
                    queries=slice(max(first, start) - start, min(below, end) - start),
                    keys=slice(first, stop),
                    depths=slice(depth, depth + stop - first),
                )
            )
    hidden_BW = np.arange(shallow, num_depths) > depths_B[:, None]
    return Block(
        places=slice(start, end),
        num_depths=num_depths,
        parts=tuple(parts),
        shallow=shallow,
        hidden_BW=torch.from_numpy(hidden_BW).to(device),
    )


def _attended(heads: Heads, blocks: tuple[Block, ...]) -> Tensor:
    times = heads.query_QHD.shape[1] // heads.key_TKD.shape[1]
    query_HTD = (heads.query_QHD.float() * heads.query_QHD.shape[-1] ** -0.5).transpose(0, 1)
    key_HTD, value_HTD = (
        (one.repeat_interleave(times, dim=1) if times > 1 else one).float().transpose(0, 1)
        for one in heads[1:]
    )
    out_THD = query_HTD.new_empty(heads.query_QHD.shape)
    for block in blocks:
        shares_HBW = _scores(query_HTD[:, block.places], key_HTD, block).softmax(dim=-1)
        out_HBD = out_THD[block.places].transpose(0, 1)
        out_HBD.copy_(_taken(shares_HBW, value_HTD, block))
    return out_THD.to(heads.query_QHD.dtype)


def _scores(query_HBD: Tensor, key_HTD: Tensor, block: Block) -> Tensor:
    """Returns what each place of a block scores on each depth of its path, [H, B, W]."""
    key_HDT = key_HTD.transpose(1, 2)
    if len(block.parts) == 1:
        scores_HBW = torch.bmm(query_HBD, key_HDT[:, :, block.parts[0].keys])
    else:
        scores_HBW = query_HBD.new_empty(*query_HBD.shape[:2], block.num_depths)
        for queries, keys, depths in block.parts:
            scores_HBW[:, queries, depths] = torch.bmm(query_HBD[:, queries], key_HDT[:, :, keys])
    scores_HBW[:, :, block.shallow :].masked_fill_(block.hidden_BW, -torch.inf)
    return scores_HBW


def _taken(shares_HBW: Tensor, value_HTD: Tensor, block: Block) -> Tensor:
    """Returns the values of each depth of a path by their shares, [H, B, D]."""
    if len(block.parts) == 1:
        return torch.bmm(shares_HBW, value_HTD[:, block.parts[0].keys])
    taken_HBD = value_HTD.new_zeros(*shares_HBW.shape[:2], value_HTD.shape[2])
    for queries, keys, depths in block.parts:
        taken_HBD[:, queries] += torch.bmm(shares_HBW[:, queries, depths], value_HTD[:, keys])
    return taken_HBD
