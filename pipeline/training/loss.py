"""Losses of preference training. Pure. Shapes: B candidates of a batch."""

import torch
from torch import Tensor
from torch.nn import functional


def pair_weights(scores_B: Tensor, groups_B: Tensor, *, cross_image: float) -> Tensor:
    """Returns the weight of each ordered pair (chosen, rejected), [B, B]; rows are chosen.

    1 for strictly ordered pairs within one group, `cross_image` for those of two groups, else 0:
    ties say nothing. The paper's loss has `cross_image` 0, which leaves each image's offset free.
    """
    ordered_BB = scores_B.unsqueeze(1) > scores_B.unsqueeze(0)
    same_BB = groups_B.unsqueeze(1) == groups_B.unsqueeze(0)
    weight_BB = torch.where(same_BB, 1.0, cross_image)
    return weight_BB * ordered_BB


def preference_loss(rewards_B: Tensor, weights_BB: Tensor) -> Tensor:
    """Returns the weighted mean Bradley-Terry loss over ordered pairs, in nats; shape [].

    -log sigmoid(chosen - rejected), in float32 whatever the inputs; 0 where no pair has weight.
    Source: arXiv 2409.18541, released training code.
    """
    rewards = rewards_B.float()
    margin_BB = rewards.unsqueeze(1) - rewards.unsqueeze(0)
    total = (weights_BB * -functional.logsigmoid(margin_BB)).sum()
    return total / weights_BB.sum().clamp(min=1e-9)


def pairwise_accuracy(rewards_B: Tensor, weights_BB: Tensor) -> tuple[float, int]:
    """Returns the share of within-group pairs whose chosen has the higher reward, and their number.

    Pairs of weight 1 count; equal rewards are wrong. The share is NaN where there is no pair.
    """
    counted_BB = weights_BB == 1
    right_BB = rewards_B.unsqueeze(1) > rewards_B.unsqueeze(0)
    number = int(counted_BB.sum())
    right = int((right_BB & counted_BB).sum())
    return (right / number if number else float("nan")), number
