import json
import math

import pytest
import torch
from PIL import Image

from examples.blocks.train_tokenizer import build_tokenizer
from services.engines.api import Candidate, RewardGroup, RowReward
from services.engines.reward import TorchRewardEngine
from services.errors import InternalError, InvalidRequestError, TooLargeError
from services.reward_model.checkpoint import RewardFile, read_reward
from services.reward_model.export import write_reward
from services.reward_model.model import LlavaRewardModel
from services.reward_model.pixels import ImageMode, PixelSettings
from services.reward_model.weights import CheckpointError
from tests.services.engines.reward_numbers import ASSET, KINDS, measured
from tests.services.reward_model.conftest import tiny_llava_config

RED, BLUE = (Image.new("RGB", (20, 30), colour) for colour in ("red", "blue"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "answer"
    write_reward(
        folder,
        LlavaRewardModel(tiny_llava_config()),
        file=RewardFile(
            name="tiny",
            kind="answer-reward",
            image_mode=ImageMode.PAD,
            max_length=40,
            max_chars=400,
        ),
        tokenizer=build_tokenizer(),
        pixels=PixelSettings(mode=ImageMode.PAD, size=16),
        dtype="float32",
    )
    return folder


@pytest.fixture(scope="module")
def engine(folder):
    return TorchRewardEngine.load(
        folder, kind="answer-reward", device="cpu", dtype="float32", num_threads=1
    )


def answered(answer: str) -> Candidate:
    return Candidate(questions=("What is it?",), answer=answer)


def group(*answers: str, image: Image.Image | None = RED) -> RewardGroup:
    return RewardGroup(image=image, candidates=tuple(answered(answer) for answer in answers))


def rewards(score) -> list[float]:
    assert all(isinstance(row, RowReward) for row in score.rows)
    return [row.reward for row in score.rows]


ANSWERS = ("A red star.", "No.", "The circle is at the top left, I think, as you know.")


def test_rewards_are_the_same_bits_alone_and_among_batch_mates(engine):
    together = engine.score([group(*ANSWERS), group(*reversed(ANSWERS), image=BLUE), group("x")])
    for place, answer in enumerate(ANSWERS):
        assert rewards(engine.score([group(answer)])[0]) == [rewards(together[0])[place]]
        assert rewards(engine.score([group(answer, image=BLUE)])[0]) == [
            rewards(together[1])[2 - place]
        ]


def test_padded_batches_of_an_accelerator_agree_within_float_noise(engine, folder):
    checkpoint = read_reward(folder, device="cpu", dtype="float32")
    padded = TorchRewardEngine(checkpoint, device="cpu", dtype="float32", rows_per_forward=2)
    ours = rewards(padded.score([group(*ANSWERS)])[0])
    assert ours == pytest.approx(rewards(engine.score([group(*ANSWERS)])[0]), abs=1e-5)


def test_image_and_text_both_decide(engine):
    first, second = (
        rewards(score) for score in engine.score([group("a", "b"), group("a", image=BLUE)])
    )
    assert len({round(value, 5) for value in (*first, *second)}) == 3


def test_a_row_that_cannot_be_scored_gets_its_error_and_spares_the_others(engine):
    score = engine.score([group("fine", " ", "y" * 500)])[0]
    assert isinstance(score.rows[0], RowReward)
    assert isinstance(score.rows[1], InvalidRequestError)
    assert isinstance(score.rows[2], TooLargeError)
    assert "answer is empty" in score.rows[1].message
    assert "limit is 400" in score.rows[2].message


def test_an_empty_question_list_is_an_invalid_request(engine):
    candidate = Candidate(questions=(), answer="a")
    score = engine.score([RewardGroup(image=RED, candidates=(candidate,))])[0]
    assert isinstance(score.rows[0], InvalidRequestError)


def test_a_long_text_is_truncated_and_says_so(engine):
    short, long = engine.score([group("a star", "star " * 60)])[0].rows
    assert isinstance(short, RowReward)
    assert isinstance(long, RowReward)
    assert (short.truncated, long.truncated, long.num_tokens) == (False, True, 40)


def test_tokens_count_image_and_text_and_the_prefix_is_shared(engine):
    score = engine.score([group("a star", "a red star")])[0]
    assert score.prefix_tokens == 5
    assert score.rows[1].num_tokens - score.rows[0].num_tokens == 1
    assert score.suffix_tokens == sum(row.num_tokens for row in score.rows) - 10
    assert score.device_ms > 0


def test_text_only_groups_are_scored_without_image_tokens(engine):
    score = engine.score([group("a star", image=None)])[0]
    assert score.prefix_tokens == 0
    assert math.isfinite(rewards(score)[0])


def test_a_reward_that_is_not_finite_is_the_models_fault(folder):
    checkpoint = read_reward(folder, device="cpu", dtype="float32")
    checkpoint.model.score.weight.fill_(math.nan)
    engine = TorchRewardEngine(checkpoint, device="cpu", dtype="float32", rows_per_forward=1)
    row = engine.score([group("a star")])[0].rows[0]
    assert isinstance(row, InternalError)
    assert "not finite" in row.message


def test_a_checkpoint_of_the_other_kind_is_refused_at_load(folder):
    with pytest.raises(CheckpointError, match=r"the model of answer-reward; .* question-reward"):
        TorchRewardEngine.load(
            folder, kind="question-reward", device="cpu", dtype="float32", num_threads=1
        )


def test_no_groups_and_empty_groups_are_fine(engine):
    assert engine.score([]) == []
    assert engine.score([RewardGroup(image=RED, candidates=())])[0].rows == ()


def test_the_identity_names_kind_dtype_and_prompt(engine):
    identity = engine.identity
    assert (identity.kind, identity.dtype, identity.name) == ("answer-reward", "float32", "tiny")
    assert len(identity.identity) == 32
    assert len(identity.weights_sha256) == 64
    assert identity.template_version


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(60)
def test_rewards_of_the_small_models_do_not_move(kind):
    expected = json.loads(ASSET.read_text())[kind]
    found = measured(kind)
    assert found["weights_sha256"] == expected["weights_sha256"], "trained anew: see reward_numbers"
    assert len(expected["rewards"]) == 9
    assert found["rewards"] == pytest.approx(expected["rewards"], abs=1e-5)
