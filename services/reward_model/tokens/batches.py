"""Token rows as padded tensors. B rows, T tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from align2llava.services.reward_model.tokens.inputs import TokenRow


def padded_rows(rows: Sequence[TokenRow], *, pad: int) -> tuple[Tensor, Tensor]:
    """Returns ids and attention mask of the rows, padded at the right, int64, [B, T] each."""
    longest = max(len(row.ids) for row in rows)
    ids = [[*row.ids, *[pad] * (longest - len(row.ids))] for row in rows]
    mask = [[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)
