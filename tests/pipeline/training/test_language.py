import pytest
import torch

from align2llava.pipeline.training.language import LlavaLanguageModel
from tests.pipeline.training.preference_world import tiny_config

IDS = torch.tensor([[1, 4, 50, 60, 70], [1, 4, 51, 61, 3]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlavaLanguageModel(tiny_config(100)).eval()


def loss(model, num_prompt, ids=IDS):
    features = torch.ones(2, 1, 32)
    with torch.inference_mode():
        return model(ids, MASK, features, num_prompt_B=torch.tensor(num_prompt)).item()


def test_only_completions_are_predicted_and_padding_never(model):
    with torch.inference_mode():
        hidden = model.hidden(IDS, MASK, torch.ones(2, 1, 32))
        logits = torch.log_softmax(model.lm_head(hidden), dim=-1)
    expected = -(logits[0, 2, 60] + logits[0, 3, 70] + logits[1, 2, 61]) / 3
    assert loss(model, [3, 3]) == pytest.approx(expected.item(), abs=1e-5)


def test_a_token_of_the_prompt_is_no_target(model):
    assert loss(model, [4, 3]) != pytest.approx(loss(model, [3, 3]), abs=1e-4)
