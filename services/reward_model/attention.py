"""Attention over token trees: a dense mask (any device), cascade attention and FlexAttention (CUDA).

Each tells transformers by name which function to call, and what to hand it for a tree. All three
compute the same: a place attends to its own row up to itself. Shapes: T places, H heads, K
key-value heads, D head size, S segments.

Cascade: a tree is cut into segments, runs without branching. Each attends causally to itself; then,
level by level, all that lies below a segment attends to it whole, and the parts are merged by their
log-sum-exp. Inference only: the kernel's gradient leaves the log-sum-exp out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from services.reward_model.tree import Ints, Tree, visible

DENSE, CASCADE = "a2l_dense", "a2l_cascade"
LASTS = "lasts"  # where an attention's inputs hold it, the last layer computes these places only
# Below the image, a level of branching costs a pass over all layers; so few tokens are cheaper twice.
CASCADE_MIN_SHARED = 16


class Heads(NamedTuple):
    """What attention works on."""

    query_THD: Tensor
    key_TKD: Tensor
    value_TKD: Tensor


Varlen = Callable[["Span", Heads], tuple[Tensor, Tensor]]


class TreeAttention(Protocol):
    """One way to attend over trees."""

    @property
    def name(self) -> str:
        """Transformers' name of the attention function."""
        ...

    @property
    def joins_trees(self) -> bool:
        """Whether several trees in one forward cost no more than one after the other."""
        ...

    @property
    def min_shared(self) -> int:
        """What `tree.merge` should share at least below its first branching."""
        ...

    def inputs(self, tree: Tree, *, device: torch.device) -> dict[str, object]:
        """Returns the keyword arguments of the language model's forward."""
        ...


class DenseAttention:
    """A boolean mask over pairs of places: exact, the reference, and the CPU's way.

    The trunk, which all rows share, attends causally and without a mask; only what branches off it
    needs one; a mask over everything would spend time on pairs that see nothing.
    """

    name = DENSE
    joins_trees = False
    min_shared = 1

    def __init__(self) -> None:
        AttentionInterface.register(DENSE, _dense_forward)

    def inputs(self, tree: Tree, *, device: torch.device) -> dict[str, object]:
        """Returns how long the trunk is, and the mask of all else; none for a chain."""
        trunk = _trunk(tree)
        visible_TT = visible(tree)
        return {
            "attention_mask": None,
            "trunk": trunk,
            "branches": torch.from_numpy(visible_TT[trunk:]).to(device),
            LASTS: torch.from_numpy(tree.lasts_R).to(device),
            "seen": torch.from_numpy(visible_TT[tree.lasts_R]).to(device),
        }


def _trunk(tree: Tree) -> int:
    """Returns how many places from the first on lie on every row's path or before a branching."""
    branches = np.flatnonzero((np.diff(tree.depths_T) != 1) | (np.diff(tree.ends_T) != 0))
    return int(branches[0]) + 1 if len(branches) else tree.num_tokens


def _dense_forward(
    _module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    **options: object,
) -> tuple[Tensor, None]:
    """Returns the attention of a batch of one, as transformers calls it: [1, T, H, D], no weights."""
    trunk, mask_BT = options["trunk"], options["branches"]
    assert isinstance(trunk, int)
    assert isinstance(mask_BT, Tensor)
    is_shared = key.shape[1] != query.shape[1]  # several query heads to one of keys and values
    out = scaled_dot_product_attention(
        query[:, :, :trunk],
        key[:, :, :trunk],
        value[:, :, :trunk],
        is_causal=True,
        enable_gqa=is_shared,
    )
    if len(mask_BT):
        rest = scaled_dot_product_attention(
            query[:, :, trunk:], key, value, attn_mask=mask_BT, enable_gqa=is_shared
        )
        out = torch.cat([out, rest], dim=2)
    return out.transpose(1, 2), None


class FlexAttention:
    """FlexAttention with a block mask: for CUDA where `varlen_attn` is missing."""

    name = "flex_attention"
    joins_trees = True
    min_shared = 1

    def inputs(self, tree: Tree, *, device: torch.device) -> dict[str, object]:
        """Returns the block mask."""
        ends_T = torch.from_numpy(tree.ends_T).to(device)

        def attends(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (query < ends_T[key])

        size = tree.num_tokens
        mask: BlockMask = create_block_mask(attends, None, None, size, size, device=str(device))
        return {"attention_mask": mask}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Sequences of queries and of the keys they see, one after the other; int32 bounds from 0."""

    queries: Tensor | None  # places; None = all, in order
    keys: Tensor | None
    query_bounds: Tensor
    key_bounds: Tensor
    max_queries: int
    max_keys: int
    is_causal: bool


class CascadeAttention:
    """Cascade attention on PyTorch's variable-length kernel: half precision on CUDA."""

    name = CASCADE
    joins_trees = True
    min_shared = CASCADE_MIN_SHARED

    def inputs(self, tree: Tree, *, device: torch.device) -> dict[str, object]:
        """Returns the plan of passes."""
        return {"attention_mask": None, "spans": spans_of(tree, device=device)}


def spans_of(tree: Tree, *, device: torch.device) -> tuple[Span, ...]:
    """Returns the passes of a tree: every segment on itself, then all below on each level's segments."""
    starts_S, ends_S, levels_S = _segments(tree)
    bounds = torch.from_numpy(np.append(starts_S, tree.num_tokens).astype(np.int32)).to(device)
    longest = int((ends_S - starts_S).max())
    own = Span(
        queries=None,
        keys=None,
        query_bounds=bounds,
        key_bounds=bounds,
        max_queries=longest,
        max_keys=longest,
        is_causal=True,
    )
    below_S = tree.ends_T[starts_S]
    passes = [own]
    for level in range(int(levels_S.max()) + 1):
        chosen = np.flatnonzero((levels_S == level) & (below_S > ends_S))
        if len(chosen):
            queries = list(zip(ends_S[chosen], below_S[chosen], strict=True))
            keys = list(zip(starts_S[chosen], ends_S[chosen], strict=True))
            passes.append(_level_span(queries, keys, device=device))
    return tuple(passes)


def _segments(tree: Tree) -> tuple[Ints, Ints, Ints]:
    """Returns where each run without branching starts and ends, and how many lie above it."""
    follows = (np.diff(tree.depths_T) == 1) & (np.diff(tree.ends_T) == 0)
    starts_S = np.append(0, np.flatnonzero(~follows) + 1)
    ends_S = np.append(starts_S[1:], tree.num_tokens)
    below_S = tree.ends_T[starts_S]
    levels_S = np.zeros(len(starts_S), dtype=np.int64)
    open_ends: list[int] = []
    for segment, start in enumerate(starts_S):
        while open_ends and open_ends[-1] <= start:
            open_ends.pop()
        levels_S[segment] = len(open_ends)
        open_ends.append(int(below_S[segment]))
    return starts_S, ends_S, levels_S


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


def _places(ranges: list[tuple[int, int]], *, device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate([np.arange(*one) for one in ranges])).to(device)


def _bounds(ranges: list[tuple[int, int]], *, device: torch.device) -> Tensor:
    lengths = [end - start for start, end in ranges]
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=device)


def cascade(heads: Heads, *, spans: tuple[Span, ...], varlen: Varlen) -> Tensor:
    """Returns attention over a tree, [T, H, D]; `varlen` gives a span's output and log-sum-exp [H, T]."""
    own, *levels = spans
    out_THD, lse_HT = varlen(own, heads)
    out_THD, lse_HT = out_THD.float(), lse_HT.float()
    for span in levels:
        assert span.queries is not None
        assert span.keys is not None
        part = Heads(
            heads.query_THD[span.queries], heads.key_TKD[span.keys], heads.value_TKD[span.keys]
        )
        part_THD, part_HT = varlen(span, part)
        part_HT = part_HT.float()
        old_HT = lse_HT[:, span.queries]
        new_HT = torch.logaddexp(old_HT, part_HT)
        old_TH1 = (old_HT - new_HT).exp().T.unsqueeze(-1)
        part_TH1 = (part_HT - new_HT).exp().T.unsqueeze(-1)
        out_THD[span.queries] = out_THD[span.queries] * old_TH1 + part_THD.float() * part_TH1
        lse_HT[:, span.queries] = new_HT
    return out_THD.to(heads.query_THD.dtype)


def register_cascade(varlen: Varlen) -> None:
    """Makes cascade attention known to transformers, on this kernel."""

    def forward(  # noqa: PLR0917  (transformers' signature)
        _module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: object,
    ) -> tuple[Tensor, None]:
        """Returns the attention of a batch of one, as transformers calls it: [1, T, H, D], no weights."""
        spans = options["spans"]
        assert isinstance(spans, tuple)
        assert attention_mask is None
        assert query.shape[0] == 1
        heads = Heads(*(one[0].transpose(0, 1) for one in (query, key, value)))
        return cascade(heads, spans=spans, varlen=varlen).unsqueeze(0), None

    AttentionInterface.register(CASCADE, forward)
