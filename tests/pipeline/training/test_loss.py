import math

import pytest
import torch

from align2llava.pipeline.training.loss import pair_weights, pairwise_accuracy, preference_loss


def weights(scores, groups, cross_image=0.0):
    return pair_weights(torch.tensor(scores), torch.tensor(groups), cross_image=cross_image)


def test_pairs_are_strictly_ordered_and_within_one_group():
    assert weights([0.9, 0.9, 0.1, 0.5], [0, 0, 0, 1]).nonzero().tolist() == [[0, 2], [1, 2]]


def test_cross_image_pairs_get_their_weight():
    assert weights([0.9, 0.5], [0, 1], cross_image=0.25).tolist() == [[0, 0.25], [0, 0]]


def test_the_loss_of_one_pair_is_bradley_terry():
    loss = preference_loss(torch.tensor([1.5, 0.5]), weights([1.0, 0.0], [0, 0]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.0)), abs=1e-6)


def test_the_loss_is_the_mean_over_pairs_and_zero_without_any():
    rewards = torch.tensor([1.0, 0.0, 0.0])
    both = preference_loss(rewards, weights([1.0, 0.5, 0.5], [0, 0, 0]))
    assert both.item() == pytest.approx(math.log(1 + math.exp(-1.0)), abs=1e-6)
    assert preference_loss(rewards, torch.zeros(3, 3)).item() == 0


def test_a_shift_of_all_rewards_of_an_image_changes_nothing_without_cross_pairs():
    groups, scores = [0, 0, 1, 1], [0.9, 0.1, 0.8, 0.3]
    rewards = torch.tensor([0.3, 0.1, -0.2, 0.5])
    shifted = rewards + torch.tensor([0.0, 0.0, 5.0, 5.0])
    alone = weights(scores, groups)
    assert preference_loss(rewards, alone).item() == pytest.approx(
        preference_loss(shifted, alone).item(), abs=1e-6
    )
    across = weights(scores, groups, cross_image=1.0)
    assert preference_loss(rewards, across) != preference_loss(shifted, across)


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected():
    rewards = torch.zeros(2, requires_grad=True)
    preference_loss(rewards, weights([1.0, 0.0], [0, 0])).backward()
    assert rewards.grad is not None
    assert rewards.grad.tolist() == [-0.5, 0.5]


def test_accuracy_counts_ties_of_rewards_as_wrong():
    share, number = pairwise_accuracy(
        torch.tensor([1.0, 1.0, 0.0]), weights([0.9, 0.5, 0.1], [0, 0, 0])
    )
    assert (share, number) == (pytest.approx(2 / 3), 3)


def test_accuracy_without_pairs_is_no_number():
    share, number = pairwise_accuracy(torch.tensor([1.0]), torch.zeros(1, 1))
    assert math.isnan(share)
    assert number == 0
