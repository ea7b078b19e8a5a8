import pytest
import torch
from transformers import LlavaForConditionalGeneration, MistralConfig

from align2llava.services.reward_model.llava.model import (
    LlavaRewardModel,
    image_geometry,
    last_positions,
    special_ids,
    text_config,
)

IDS = torch.tensor([[1, 4, 4, 4, 4, 270, 300, 310]])


def reward(model: LlavaRewardModel, ids, mask, pixels) -> torch.Tensor:
    with torch.inference_mode():
        features = model.image_features(pixels)
        return model(ids, mask, features.expand(len(ids), -1, -1))


def test_the_last_position_is_found_by_the_mask():
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    assert last_positions(mask).tolist() == [2, 0, 3]


def test_padding_at_the_right_changes_no_reward(tiny_model):
    pixels = torch.randn(1, 3, 16, 16)
    alone = reward(tiny_model, IDS, torch.ones_like(IDS), pixels)
    padded = torch.cat([IDS, torch.tensor([[3, 3, 3]])], dim=1)
    mask = torch.tensor([[1] * 8 + [0] * 3])
    torch.testing.assert_close(reward(tiny_model, padded, mask, pixels), alone, atol=1e-5, rtol=0)


def test_a_real_token_with_the_pad_id_at_the_end_is_still_the_last(tiny_model):
    pixels = torch.randn(1, 3, 16, 16)
    ids = torch.cat([IDS, torch.tensor([[3]])], dim=1)
    with_it = reward(tiny_model, ids, torch.ones_like(ids), pixels)
    assert (with_it - reward(tiny_model, IDS, torch.ones_like(IDS), pixels)).abs() > 1e-4


def test_the_image_decides_the_reward(tiny_model):
    first, second = torch.randn(2, 1, 3, 16, 16)
    ones = torch.ones_like(IDS)
    difference = reward(tiny_model, IDS, ones, first) - reward(tiny_model, IDS, ones, second)
    assert difference.abs() > 1e-4


def test_hidden_states_are_those_of_transformers_own_llava(tiny_model, tiny_config):
    theirs = LlavaForConditionalGeneration(tiny_config).eval()
    theirs.model.load_state_dict(tiny_model.llava.state_dict())
    pixels, mask = torch.randn(1, 3, 16, 16), torch.ones_like(IDS)
    with torch.inference_mode():
        features = tiny_model.image_features(pixels)
        ours = tiny_model.hidden(IDS, mask, features)
        expected = theirs.model(
            input_ids=IDS, pixel_values=pixels, attention_mask=mask
        ).last_hidden_state
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_rewards_are_float32_whatever_the_weights(tiny_model):
    model = tiny_model.bfloat16()
    rewards = reward(model, IDS, torch.ones_like(IDS), torch.randn(1, 3, 16, 16))
    assert rewards.dtype == torch.float32


def test_geometry_and_ids_come_from_the_configuration(tiny_config):
    assert image_geometry(tiny_config) == (16, 4)
    assert (special_ids(tiny_config).bos, special_ids(tiny_config).image) == (1, 4)


def test_a_language_model_that_is_no_llama_is_refused(tiny_config):
    config = type(tiny_config)(
        vision_config=tiny_config.vision_config, text_config=MistralConfig(hidden_size=16)
    )
    with pytest.raises(TypeError, match="MistralConfig, not Llama"):
        text_config(config)
