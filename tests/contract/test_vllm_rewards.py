"""A reward service on vLLM, in its own environment: the same rewards as torch, and a clean end."""

import signal
from itertools import islice

import pytest

from align2llava.services.engines.api import Candidate, RewardGroup, RowReward
from align2llava.services.engines.torch_engine.reward import EngineLimits, TorchRewardEngine
from examples.blocks.render import render
from examples.blocks.scene import draw_scenes
from tests.contract.servers import ROOT, server
from tests.contract.wire_values import encoded, question_group, rewards, wire_image
from tests.services.engines.vision_venv import PYTHON, in_vision_venv

MODEL_DIR = ROOT / "examples" / "blocks" / "models" / "question-reward"
QUESTIONS = ("What color is the star?", "Is there a red circle?", "Where is the GO sign?")
IMAGES = [render(scene) for scene in islice(draw_scenes(5, "vllm service"), 3)]


def torch_rewards() -> list[float]:
    engine = TorchRewardEngine.load(
        MODEL_DIR,
        kind="question-reward",
        device="cpu",
        dtype="float32",
        num_threads=1,
        limits=EngineLimits(max_batch_tokens=4096, max_feature_bytes=0, long_text="truncate"),
    )
    candidates = tuple(Candidate(questions=(text,), answer=None) for text in QUESTIONS)
    groups = [engine.prepare(RewardGroup(image=image, candidates=candidates)) for image in IMAGES]
    rows = [row for score in engine.launch(groups)() for row in score.rows]
    return [row.reward for row in rows if isinstance(row, RowReward)]


@in_vision_venv
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_service_on_vllm_answers_with_torchs_rewards_and_ends_cleanly(tmp_path):
    settings = {"A2L_ENGINE": "vllm", "A2L_MODEL_DIR": str(MODEL_DIR)}
    expected = torch_rewards()
    groups = [question_group(*QUESTIONS, image=wire_image(encoded(image))) for image in IMAGES]
    with server(
        "question-reward", tmp_path, settings=settings, timeout_s=180, python=PYTHON
    ) as running:
        for transport in ("rest", "grpc"):
            client = running.reward_client(transport)
            response = await client.score(groups, timeout_s=60)
            await client.aclose()
            assert response.model.engine.startswith("vllm ")
            found = [reward for row in rewards(response) for reward in row]
            assert found == pytest.approx(expected, abs=1e-4)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(40) == 0
