"""Token trees: sequences that begin alike, merged so that what they share is computed once.

Pure numpy; knows no model and no text. A tree lies in depth-first order, so that the tokens which
follow a place are those up to the end of its subtree. Shapes: T places, R rows (sequences).
Exactness and speed of the packed form: see docs/reward-engine.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Rows merged by common beginnings. One place holds one token of one or more rows."""

    ids_T: Ints
    depths_T: Ints  # a place's index in its rows, from 0
    ends_T: Ints  # one past the last place below it, itself included
    sources_T: Ints  # a row that the place belongs to
    lasts_R: Ints  # the place of each row's last token

    @property
    def num_tokens(self) -> int:
        """Places: what a forward over the tree computes."""
        return len(self.ids_T)

    @property
    def is_chain(self) -> bool:
        """Whether all rows lie on one path, so that plain causal attention is right."""
        return bool(self.depths_T[-1] == self.num_tokens - 1)


def merge(rows: Sequence[Sequence[int]], *, min_shared: int = 1) -> Tree:
    """Returns the tree of whole sequences; duplicates and prefixes of one another share their places.

    What all rows share is always one. Below it, a path branches only `min_shared` tokens after it
    branched before: each level of branching is one more pass of cascade attention, which a few
    shared tokens do not repay.

    Raises:
        ValueError: there are no rows, or one is empty.
    """
    arrays = [np.asarray(row, dtype=np.int64) for row in rows]
    if not arrays or not all(len(array) for array in arrays):
        raise ValueError("a tree needs at least one row, and no row may be empty")
    order = sorted(range(len(rows)), key=lambda row: tuple(rows[row]))
    root = num_shared(rows[order[0]], rows[order[-1]])
    builder = _Builder(num_rows=len(rows), root=root, min_shared=min_shared)
    for row in order:
        builder.add(row, arrays[row])
    return builder.tree()


def visible(tree: Tree, places_Q: Ints | None = None) -> NDArray[np.bool_]:
    """Returns which places each of some (None: of all) attends to, [Q, T]: its own row up to itself."""
    places_T = np.arange(tree.num_tokens)
    asking_Q1 = (places_T if places_Q is None else places_Q)[:, None]
    return (places_T[None, :] <= asking_Q1) & (asking_Q1 < tree.ends_T[None, :])


def segments_of(tree: Tree) -> tuple[Ints, Ints, Ints]:
    """Returns where each run without branching starts and ends, and where all that is below it ends."""
    follows = (np.diff(tree.depths_T) == 1) & (np.diff(tree.ends_T) == 0)
    starts_S = np.append(0, np.flatnonzero(~follows) + 1)
    return starts_S, np.append(starts_S[1:], tree.num_tokens), tree.ends_T[starts_S]


def parted(rows: Sequence[Sequence[int]], *, max_tokens: int) -> list[list[int]]:
    """Returns the rows' indices in parts whose trees have at most `max_tokens` places each.

    Neighbours in sorted order go together, as they share most. A longer row is a part of its own.
    """
    order = sorted(range(len(rows)), key=lambda row: tuple(rows[row]))
    parts: list[list[int]] = []
    size = 0
    for row in order:
        new = len(rows[row])
        if parts:
            new -= num_shared(rows[parts[-1][-1]], rows[row])
        if not parts or size + new > max_tokens:
            parts.append([row])
            size = len(rows[row])
        else:
            parts[-1].append(row)
            size += new
    return parts


def num_shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Returns how many tokens two sequences have in common before they differ."""
    length = min(len(first), len(second))
    differs = np.asarray(first[:length]) != np.asarray(second[:length])
    return int(differs.argmax()) if differs.any() else length


def joined(trees: Sequence[Tree]) -> Tree:
    """Returns trees side by side as one, with several roots; rows keep their order."""
    offsets = np.cumsum([0, *(tree.num_tokens for tree in trees)])
    first_rows = np.cumsum([0, *(len(tree.lasts_R) for tree in trees)])
    placed = list(zip(trees, offsets, first_rows, strict=False))
    return Tree(
        ids_T=np.concatenate([tree.ids_T for tree in trees]),
        depths_T=np.concatenate([tree.depths_T for tree in trees]),
        ends_T=np.concatenate([tree.ends_T + offset for tree, offset, _ in placed]),
        sources_T=np.concatenate([tree.sources_T + row for tree, _, row in placed]),
        lasts_R=np.concatenate([tree.lasts_R + offset for tree, offset, _ in placed]),
    )


class _Builder:
    """Adds rows in sorted order; only the path of the last one can still be continued."""

    def __init__(self, *, num_rows: int, root: int, min_shared: int) -> None:
        self._min_shared = min_shared
        self._path: Ints = np.zeros(0, dtype=np.int64)
        self._row: Ints = np.zeros(0, dtype=np.int64)
        self._branches = [root]  # depths at which the path branches, ascending
        self._ids: list[Ints] = []
        self._depths: list[Ints] = []
        self._sources: list[Ints] = []
        self._ends: list[tuple[Ints, int]] = []
        self._lasts = np.zeros(num_rows, dtype=np.int64)
        self._size = 0

    def add(self, row: int, ids: Ints) -> None:
        shared = num_shared(self._row, ids)  # pyright: ignore[reportArgumentType]  (an array is as good as a sequence here)
        if shared == len(ids):  # a duplicate: sorted rows have their prefixes before them
            self._lasts[row] = self._path[-1]
            return
        if shared < len(self._row):
            shared = self._branch(shared)
        self._ends.append((self._path[shared:], self._size))
        new = np.arange(self._size, self._size + len(ids) - shared)
        self._ids.append(ids[shared:])
        self._depths.append(np.arange(shared, len(ids)))
        self._sources.append(np.full(len(new), row))
        self._path = np.concatenate([self._path[:shared], new])
        self._row = ids
        self._size += len(new)
        self._lasts[row] = self._path[-1]

    def _branch(self, shared: int) -> int:
        """Returns where the path branches for a row that shares so much with it."""
        while self._branches[-1] > shared:
            self._branches.pop()
        above = self._branches[-1]
        if shared - above < self._min_shared:
            return above
        self._branches.append(shared)
        return shared

    def tree(self) -> Tree:
        self._ends.append((self._path, self._size))
        ends_T = np.zeros(self._size, dtype=np.int64)
        for places, end in self._ends:
            ends_T[places] = end
        return Tree(
            ids_T=np.concatenate(self._ids),
            depths_T=np.concatenate(self._depths),
            ends_T=ends_T,
            sources_T=np.concatenate(self._sources),
            lasts_R=self._lasts,
        )
