import pytest
import torch

from align2llava.pipeline.preferences.readers import read_groups
from align2llava.pipeline.training.batches import BatchMaker
from align2llava.pipeline.training.evaluate import accuracy_of_groups, rewards_of_groups
from align2llava.services.reward_model.llava.checkpoint import (
    read_config,
    read_encoder,
    read_pixels,
)
from align2llava.services.reward_model.llava.model import LlavaRewardModel
from align2llava.services.reward_model.tokens.inputs import TextLimits
from align2llava.services.reward_model.tokens.pixels import ImageMode
from tests.pipeline.training.preference_world import write_world


@pytest.fixture
def world(tmp_path):
    write_world(tmp_path)
    config = read_config(tmp_path / "base")
    maker = BatchMaker(
        encoder=read_encoder(tmp_path / "base", config, TextLimits(max_length=64, max_chars=1000)),
        pixels=read_pixels(tmp_path / "base", config, ImageMode.PAD),
        images_root=tmp_path / "images",
        cached_images=4,
    )
    torch.manual_seed(0)
    model = LlavaRewardModel(config).eval()
    return model, read_groups(tmp_path / "test.json", "answer-reward"), maker


def test_a_groups_rewards_are_those_of_the_group_alone(world):
    model, groups, maker = world
    together = rewards_of_groups(model, groups, maker)
    for group, reward_B in zip(groups, together, strict=True):
        (alone,) = rewards_of_groups(model, [group], maker)
        torch.testing.assert_close(alone, reward_B, atol=1e-5, rtol=0)


def test_accuracy_counts_each_ordered_pair_once(world):
    model, groups, maker = world
    accuracy, number = accuracy_of_groups(model, groups, maker)
    assert number == len(groups)
    assert accuracy * number == pytest.approx(round(accuracy * number))
