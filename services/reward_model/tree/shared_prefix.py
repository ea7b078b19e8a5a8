"""Cascade attention over token trees: in parts without a mask, merged by their log-sum-exp.

A tree is cut into segments, runs without branching. Each attends causally to itself; then, level by
level, all that lies below a segment attends to it whole. No pair of places that see nothing of one
another is computed. Inference only: the kernels' gradients leave the log-sum-exp out.
Shapes: T places, H heads, K key-value heads, D head size, S segments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from align2llava.services.reward_model.tree.attention import Heads, TreePlan, plan_of
from align2llava.services.reward_model.tree.tree import Ints, Tree, segments_of

# Below the image, a level of branching costs a pass over all layers; so few tokens are cheaper twice.
CASCADE_MIN_SHARED = 16

Places = Tensor | slice  # a slice where they follow one another
Varlen = Callable[["Span", Heads], tuple[Tensor, Tensor]]  # [T, H, D], log-sum-exp [H, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Sequences of queries and of the keys they see, one after the other; int32 bounds from 0."""

    queries: Places
    keys: Places
    query_bounds: Tensor
    key_bounds: Tensor
    max_queries: int
    max_keys: int
    is_causal: bool


class CascadeAttention:
    """Cascade attention on a kernel that takes sequences of different lengths."""

    name = "a2l_cascade"
    joins_trees = True
    min_shared = CASCADE_MIN_SHARED

    def __init__(self, varlen: Varlen) -> None:
        self._varlen = varlen

    def plan(self, tree: Tree, *, device: torch.device) -> TreePlan:
        """Returns how a tree's places attend."""
        spans = spans_of(tree, device=device)
        return plan_of(
            tree,
            everywhere=lambda heads: cascade(heads, spans=spans, varlen=self._varlen),
            device=device,
        )


def spans_of(tree: Tree, *, device: torch.device) -> tuple[Span, ...]:
    """Returns the passes of a tree: every segment on itself, then all below on each level's segments."""
    starts_S, ends_S, below_S = segments_of(tree)
    levels_S = _levels(starts_S, below_S)
    bounds = torch.from_numpy(np.append(starts_S, tree.num_tokens).astype(np.int32)).to(device)
    longest = int((ends_S - starts_S).max())
    own = Span(
        queries=slice(None),
        keys=slice(None),
        query_bounds=bounds,
        key_bounds=bounds,
        max_queries=longest,
        max_keys=longest,
        is_causal=True,
    )
    passes = [own]
    for level in range(int(levels_S.max()) + 1):
        chosen = np.flatnonzero((levels_S == level) & (below_S > ends_S))
        if len(chosen):
            queries = list(zip(ends_S[chosen], below_S[chosen], strict=True))
            keys = list(zip(starts_S[chosen], ends_S[chosen], strict=True))
            passes.append(_level_span(queries, keys, device=device))
    return tuple(passes)


def _levels(starts_S: Ints, below_S: Ints) -> Ints:
    """Returns how many segments lie above each."""
    levels_S = np.zeros(len(starts_S), dtype=np.int64)
    open_ends: list[int] = []
    for segment, start in enumerate(starts_S):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        levels_S[segment] = len(open_ends)
        open_ends.append(int(below_S[segment]))
    return levels_S


def _level_span(
    queries: list[tuple[int, int]], keys: list[tuple[int, int]], *, device: torch.device
) -> Span:
    return Span(
        queries=_places(queries, device=device),
        keys=_places(keys, device=device),
        query_bounds=_bounds(queries, device=device),
        key_bounds=_bounds(keys, device=device),
        max_queries=max(end - start for start, end in queries),
        max_keys=max(end - start for start, end in keys),
        is_causal=False,
    )


def _places(ranges: list[tuple[int, int]], *, device: torch.device) -> Places:
    if len(ranges) == 1:
        return slice(*ranges[0])
    return torch.from_numpy(np.concatenate([np.arange(*one) for one in ranges])).to(device)


def _bounds(ranges: list[tuple[int, int]], *, device: torch.device) -> Tensor:
    lengths = [end - start for start, end in ranges]
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=device)


def cascade(heads: Heads, *, spans: tuple[Span, ...], varlen: Varlen) -> Tensor:
    """Returns attention over a tree, [T, H, D]; `varlen` gives a span's output and log-sum-exp."""
    own, *levels = spans
    out_THD, lse_HT = varlen(own, heads)
    out_THD, lse_HT = out_THD.float(), lse_HT.float()
    for span in levels:
        part = Heads(
            heads.query_QHD[span.queries], heads.key_TKD[span.keys], heads.value_TKD[span.keys]
        )
        part_THD, part_HT = varlen(span, part)
        old_HT, part_HT = lse_HT[:, span.queries], part_HT.float()
        share_TH1 = (part_HT - old_HT).sigmoid().T.unsqueeze(-1)  # of the part, in the whole
        out_THD[span.queries] = torch.lerp(out_THD[span.queries], part_THD.float(), share_TH1)
        lse_HT[:, span.queries] = torch.logaddexp(old_HT, part_HT)
    return out_THD.to(heads.query_QHD.dtype)
