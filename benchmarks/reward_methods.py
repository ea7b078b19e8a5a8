"""Four ways to score groups with one torch model: one by one, padded, with a prefix cache, as trees.

Needs torch and transformers alone. Shapes: B rows, T tokens, S suffix tokens, P image tokens,
D hidden size, G images.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from align2llava.services.reward_model.llava.model import LlavaRewardModel, last_positions
from align2llava.services.reward_model.tokens.batches import padded_rows
from align2llava.services.reward_model.tokens.inputs import TokenRow
from align2llava.services.reward_model.tree.attention import TreeAttention
from align2llava.services.reward_model.tree.tree import joined, merge
from benchmarks.reward_workload import Group, Workload

PAD = 0


class TorchMethods:
    """The methods over one model; each returns the rewards of a workload's rows, in order, on the CPU."""

    def __init__(
        self, model: LlavaRewardModel, *, attention: TreeAttention, max_batch_tokens: int
    ) -> None:
        self._model = model
        self._model.llava.language_model.set_attn_implementation("sdpa")
        self._packed = copy.deepcopy(model)
        self._packed.pack(attention)
        self._attention = attention
        self._max_batch_tokens = max_batch_tokens
        self._device = model.score.weight.device

    def by_name(self) -> dict[str, Callable[[Workload], list[float]]]:
        """Returns the methods by the name that tables give them."""
        return {
            "one by one": self.one_by_one,
            "padded": self.padded,
            "prefix cache": self.prefix_cache,
            "tree": self.tree,
        }

    @torch.inference_mode()
    def one_by_one(self, workload: Workload) -> list[float]:
        """Returns rewards of which each has a forward of its own, image included."""
        return [
            reward
            for group in workload.groups
            for row in group.rows
            for reward in self._padded([row], self._features(group))
        ]

    @torch.inference_mode()
    def padded(self, workload: Workload) -> list[float]:
        """Returns rewards of padded batches, one for each image, which is encoded once."""
        return [
            reward
            for group in workload.groups
            for reward in self._padded(group.rows, self._features(group))
        ]

    @torch.inference_mode()
    def prefix_cache(self, workload: Workload) -> list[float]:
        """Returns rewards of padded suffixes over the keys and values of the image, computed once."""
        return [reward for group in workload.groups for reward in self._with_prefix(group)]

    @torch.inference_mode()
    def tree(self, workload: Workload) -> list[float]:
        """Returns rewards of token trees, as the engine computes them; trees are built in this time."""
        rewards: list[Tensor] = []
        for groups in self._batches(workload):
            features = self._packed.features([group.image for group in groups])
            trees = [
                merge([row.ids for row in group.rows], min_shared=self._attention.min_shared)
                for group in groups
            ]
            forest = joined(trees)
            rewards.append(self._packed.tree_rewards(forest, forest.depths_T[None], features))
        return torch.cat(rewards).tolist()

    def _batches(self, workload: Workload) -> list[list[Group]]:
        """Returns the groups of each forward: one alone where joining gains nothing."""
        batches: list[list[Group]] = []
        size = 0
        for group in workload.groups:
            tokens = merge([row.ids for row in group.rows]).num_tokens
            fits = size + tokens <= self._max_batch_tokens
            if batches and self._attention.joins_trees and fits:
                batches[-1].append(group)
                size += tokens
            else:
                batches.append([group])
                size = tokens
        return batches

    def _features(self, group: Group) -> Tensor:
        return self._model.features([group.image])[0]

    def _padded(self, rows: Sequence[TokenRow], features_PD: Tensor) -> list[float]:
        ids_BT, mask_BT = padded_rows(rows, pad=PAD)
        features_BPD = features_PD.unsqueeze(0).expand(len(rows), -1, -1)
        reward_B = self._model(ids_BT.to(self._device), mask_BT.to(self._device), features_BPD)
        return reward_B.tolist()

    def _with_prefix(self, group: Group) -> list[float]:
        model, num_rows = self._model.llava.language_model, len(group.rows)
        length = group.image.num_tokens + 1  # with BOS
        embeds_1TD = model.embed_tokens(torch.tensor([[group.rows[0].ids[0]]], device=self._device))
        prefix_1TD = torch.cat([embeds_1TD, self._features(group).unsqueeze(0)], dim=1)
        cache = DynamicCache(config=model.config)
        model(inputs_embeds=prefix_1TD, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(num_rows)
        suffixes = [TokenRow(ids=row.ids[length:], truncated=False) for row in group.rows]
        ids_BS, mask_BS = padded_rows(suffixes, pad=PAD)
        mask_BT = torch.cat([torch.ones(num_rows, length, dtype=torch.long), mask_BS], dim=1)
        positions_S = torch.from_numpy(np.arange(length, length + ids_BS.shape[1]))
        hidden_BSD = model(
            input_ids=ids_BS.to(self._device),
            attention_mask=mask_BT.to(self._device),
            position_ids=positions_S.expand(num_rows, -1).to(self._device),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        last_B = last_positions(mask_BS).to(self._device)
        last_BD = hidden_BSD[torch.arange(num_rows, device=self._device), last_B]
        weight = self._model.score.weight.float()
        return torch.nn.functional.linear(last_BD.float(), weight).squeeze(-1).tolist()
