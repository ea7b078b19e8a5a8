import json

import pytest

from align2llava.services.reward_model.llava.checkpoint import read_reward
from tests.services.engines.vision_venv import ROOT, in_vision_venv, output_of

TOLERANCE = 1e-4
KINDS = ("question-reward", "answer-reward")
pytestmark = [in_vision_venv, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=KINDS)
def seen(request):
    printed = output_of("-m", "tests.services.engines.vllm_seen", request.param, timeout_s=240)
    return json.loads(printed.splitlines()[-1]) | {"kind": request.param}


def rewards(rows) -> list[float]:
    return [row["reward"] for row in rows if "reward" in row]


def test_rewards_of_the_blocks_world_agree_with_torch(seen):
    ours = [reward for rows in seen["blocks"] for reward in rewards(rows)]
    theirs = [reward for rows in seen["blocks_torch"] for reward in rows]
    assert len(ours) >= 200
    assert len({round(reward, 3) for reward in ours}) > 50
    assert ours == pytest.approx(theirs, abs=TOLERANCE)


@pytest.mark.parametrize("name", ["faulty", "long", "text only", "alike"])
def test_unusual_groups_agree_with_torch(seen, name):
    ours = rewards(seen["special"][name])
    assert ours
    assert ours == pytest.approx(seen["special_torch"][name], abs=TOLERANCE)


def test_a_candidate_that_cannot_be_scored_gets_its_error_and_spares_the_others(seen):
    fine, empty, long = seen["special"]["faulty"]
    assert "reward" in fine
    assert empty["error"] == "InvalidRequestError"
    assert long["error"] == "TooLargeError"


def test_a_text_beyond_the_context_is_truncated_and_says_so(seen):
    (row,) = seen["special"]["long"]
    assert (row["truncated"], row["num_tokens"]) == (True, 256)


def test_a_reward_that_is_not_finite_fails_its_row_and_no_later_one(seen):
    first = seen["poisoned"][0]
    assert first["error"] == "InternalError"
    assert "not finite" in first["message"]
    assert "reward" in seen["special"]["faulty"][0]


def test_no_groups_and_empty_groups_are_fine(seen):
    assert seen["nothing"] == []
    assert seen["special"]["empty"] == []


def test_the_image_and_what_precedes_it_are_the_prefix(seen):
    assert seen["prefix_tokens"] == 10


def test_a_folder_of_the_other_kind_or_without_room_for_text_is_refused(seen):
    assert "this service needs" in seen["refusals"]["other kind"]
    assert "max_length is 10; an image alone takes 9 tokens" in seen["refusals"]["short"]


def test_a_device_that_this_vllm_is_not_built_for_is_refused(seen):
    assert seen["refusals"]["other device"] == (
        "the device is cuda; this vLLM computes on cpu, the first one"
    )


def test_the_identity_is_of_the_same_weights_and_of_another_engine(seen):
    folder = ROOT / "examples" / "blocks" / "models" / seen["kind"]
    torch_checkpoint = read_reward(folder, device="cpu", dtype="float32")
    identity = seen["identity"]
    assert identity["weights_sha256"] == torch_checkpoint.weights_sha256
    assert identity["identity"] != torch_checkpoint.identity
    assert identity["engine"].startswith("vllm ")
    assert (identity["kind"], identity["dtype"]) == (seen["kind"], "float32")
