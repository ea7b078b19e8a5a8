"""Rewards of preference groups and their pairwise accuracy."""

from collections.abc import Sequence

import torch
from torch import Tensor

from align2llava.pipeline.preferences.groups import PreferenceGroup
from align2llava.pipeline.training.batches import BatchMaker, GroupBatch
from align2llava.pipeline.training.loss import pair_weights, pairwise_accuracy
from align2llava.services.reward_model.llava.model import LlavaRewardModel

GROUPS_PER_BATCH = 16
ROWS_PER_FORWARD = 24


def rewards_of_batch(model: LlavaRewardModel, batch: GroupBatch) -> Tensor:
    """Returns the rewards of a batch's candidates, [B]; each image is encoded once.

    Rows of like length share a forward, so that little of it is padding.
    """
    device = model.score.weight.device
    features_GPD = model.image_features(batch.pixels_GCHW.to(device))
    length_B = batch.attention_mask_BT.sum(dim=1)
    order_B = length_B.argsort(stable=True)
    rewards: list[Tensor] = []
    for rows in order_B.split(ROWS_PER_FORWARD):
        longest = int(length_B[rows].max())
        rewards.append(
            model(
                batch.ids_BT[rows, :longest].to(device),
                batch.attention_mask_BT[rows, :longest].to(device),
                features_GPD[batch.group_B[rows].to(device)],
            )
        )
    return torch.cat(rewards)[order_B.argsort().to(device)]


def rewards_of_groups(
    model: LlavaRewardModel, groups: Sequence[PreferenceGroup], maker: BatchMaker
) -> list[Tensor]:
    """Returns each group's rewards, in order."""
    rewards: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(groups), GROUPS_PER_BATCH):
            chunk = groups[start : start + GROUPS_PER_BATCH]
            reward_B = rewards_of_batch(model, maker.batch(chunk))
            rewards += reward_B.cpu().split([len(group.candidates) for group in chunk])
    return rewards


def accuracy_of_groups(
    model: LlavaRewardModel, groups: Sequence[PreferenceGroup], maker: BatchMaker
) -> tuple[float, int]:
    """Returns the share of strictly ordered in-group pairs put right, and their number."""
    right, number = 0.0, 0
    for group, reward_B in zip(groups, rewards_of_groups(model, groups, maker), strict=True):
        scores_B = torch.tensor([candidate.score for candidate in group.candidates])
        same_B = torch.zeros_like(scores_B)
        weights_BB = pair_weights(scores_B, same_B, cross_image=0.0)
        share, pairs = pairwise_accuracy(reward_B, weights_BB)
        if pairs:
            right, number = right + share * pairs, number + pairs
    return (right / number if number else float("nan")), number
