import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from align2llava.services.engines.api import Candidate, RewardGroup, RowReward
from align2llava.services.engines.torch_engine.reward import EngineLimits, TorchRewardEngine
from align2llava.services.errors import InternalError, InvalidRequestError, TooLargeError
from align2llava.services.reward_model.families import load_model
from align2llava.services.reward_model.folder import CheckpointError
from align2llava.services.reward_model.llava.checkpoint import RewardFile, read_reward
from align2llava.services.reward_model.llava.export import write_reward
from align2llava.services.reward_model.llava.model import LlavaRewardModel
from align2llava.services.reward_model.tokens.batches import padded_rows
from align2llava.services.reward_model.tokens.inputs import prompt_of
from align2llava.services.reward_model.tokens.pixels import ImageMode, PixelSettings, pixels_CHW
from examples.blocks.train_tokenizer import build_tokenizer
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


LIMITS = EngineLimits(max_batch_tokens=1000, max_feature_bytes=10_000, long_text="truncate")


def loaded(folder, limits: EngineLimits = LIMITS) -> TorchRewardEngine:
    return TorchRewardEngine.load(
        folder, kind="answer-reward", device="cpu", dtype="float32", num_threads=1, limits=limits
    )


@pytest.fixture(scope="module")
def engine(folder):
    return loaded(folder)


def scored(engine, *groups: RewardGroup):
    return engine.launch([engine.prepare(group) for group in groups])()


def answered(answer: str) -> Candidate:
    return Candidate(questions=("What is it?",), answer=answer)


def group(*answers: str, image: Image.Image | None = RED) -> RewardGroup:
    return RewardGroup(image=image, candidates=tuple(answered(answer) for answer in answers))


def rewards(score) -> list[float]:
    assert all(isinstance(row, RowReward) for row in score.rows)
    return [row.reward for row in score.rows]


ANSWERS = ("A red star.", "No.", "The circle is at the top left, I think, as you know.")


def test_rewards_are_the_same_bits_alone_and_among_other_groups(engine):
    groups = [group(*ANSWERS), group(*reversed(ANSWERS), image=BLUE), group("x")]
    together = [rewards(score) for score in scored(engine, *groups)]
    assert [rewards(scored(engine, one)[0]) for one in groups] == together


TEXTS = st.lists(
    st.lists(st.sampled_from(("a", "red", "star", "No", ".")), min_size=1, max_size=5).map(
        " ".join
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(first=TEXTS, second=TEXTS)
def test_a_reward_is_that_of_the_row_alone_whatever_its_batch_mates(engine, first, second):
    batch = scored(engine, group(*first), group(*second, image=BLUE))
    for texts, image, score in zip((first, second), (RED, BLUE), batch, strict=True):
        for text, reward in zip(texts, rewards(score), strict=True):
            alone = rewards(scored(engine, group(text, image=image))[0])
            assert reward == pytest.approx(alone[0], abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(texts=TEXTS)
def test_trees_give_what_padded_rows_give(engine, folder, texts):
    checkpoint = read_reward(folder, device="cpu", dtype="float32")
    prompts = [prompt_of("answer-reward", ("What is it?",), text) for text in texts]
    encoded = [checkpoint.encoder.encode(prompt, has_image=True) for prompt in prompts]
    ids_BT, mask_BT = padded_rows(encoded, pad=checkpoint.encoder.special.pad)
    pixels = torch.from_numpy(pixels_CHW(RED, checkpoint.pixels))
    with torch.inference_mode():
        features_1PD = checkpoint.model.image_features(pixels.unsqueeze(0))
        padded = checkpoint.model(ids_BT, mask_BT, features_1PD.expand(len(texts), -1, -1))
    found = rewards(scored(engine, group(*texts))[0])
    assert found == pytest.approx(padded.tolist(), abs=1e-5)


def test_a_group_over_the_token_budget_is_scored_in_parts(engine, folder):
    small = loaded(folder, replace(LIMITS, max_batch_tokens=20))
    texts = [f"{colour} star" for colour in ("red", "blue", "green")]
    assert len(small.prepare(group(*texts)).trees) > 1
    expected = rewards(scored(engine, group(*texts))[0])
    assert rewards(scored(small, group(*texts))[0]) == pytest.approx(expected, abs=1e-5)


class CountingModel:
    """A model that counts what it is asked, and has memory for so many tokens only."""

    def __init__(self, model, *, max_tokens: int = 10_000) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self.num_images = 0
        self.pack = model.pack

    def features(self, images):
        self.num_images += len(images)
        return self._model.features(images)

    def tree_rewards(self, tree, positions_AT, features):
        if tree.num_tokens > self._max_tokens:
            raise torch.OutOfMemoryError("out of memory")
        return self._model.tree_rewards(tree, positions_AT, features)


def counting(folder, *, limits: EngineLimits = LIMITS, max_tokens: int = 10_000):
    real = load_model(folder, device="cpu", dtype="float32")
    model = CountingModel(real.model, max_tokens=max_tokens)
    counted = replace(real, model=model)
    return TorchRewardEngine(counted, device="cpu", dtype="float32", limits=limits), model


def test_an_image_is_encoded_once_in_a_batch_and_kept_for_the_next(folder):
    engine, model = counting(folder)
    known = [replace(group(text), image_key="a" * 64) for text in ("a", "b")]
    scored(engine, *known)
    scored(engine, known[0])
    assert model.num_images == 1
    scored(engine, group("a"), group("b"))  # images whose hashes nobody knows
    assert model.num_images == 3


def test_features_beyond_their_limit_are_not_kept(folder):
    engine, model = counting(folder, limits=replace(LIMITS, max_feature_bytes=0))
    known = replace(group("a"), image_key="a" * 64)
    assert rewards(scored(engine, known)[0]) == rewards(scored(engine, known)[0])
    assert model.num_images == 2


def test_out_of_memory_splits_the_batch_and_names_the_item_that_is_too_large(folder):
    engine, _ = counting(folder, max_tokens=22)
    score, other = scored(engine, group("a star", "star " * 20, "a"), group("b"))
    assert isinstance(score.rows[1], TooLargeError)
    assert "a sequence of " in score.rows[1].message
    assert "does not fit the device's memory" in score.rows[1].message
    assert [isinstance(row, RowReward) for row in score.rows] == [True, False, True]
    expected = rewards(scored(loaded(folder), group("a star", "a"))[0])
    found = [row.reward for row in score.rows if isinstance(row, RowReward)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert len(rewards(other)) == 1


def test_image_and_text_both_decide(engine):
    batch = scored(engine, group("a", "b"), group("a", image=BLUE))
    first, second = (rewards(score) for score in batch)
    assert len({round(value, 5) for value in (*first, *second)}) == 3


def test_a_row_that_cannot_be_scored_gets_its_error_and_spares_the_others(engine):
    score = scored(engine, group("fine", " ", "y" * 500))[0]
    assert isinstance(score.rows[0], RowReward)
    assert isinstance(score.rows[1], InvalidRequestError)
    assert isinstance(score.rows[2], TooLargeError)
    assert "answer is empty" in score.rows[1].message
    assert "limit is 400" in score.rows[2].message


def test_an_empty_question_list_is_an_invalid_request(engine):
    candidate = Candidate(questions=(), answer="a")
    score = scored(engine, RewardGroup(image=RED, candidates=(candidate,)))[0]
    assert isinstance(score.rows[0], InvalidRequestError)


def test_a_long_text_is_truncated_and_says_so(engine):
    short, long = scored(engine, group("a star", "star " * 60))[0].rows
    assert isinstance(short, RowReward)
    assert isinstance(long, RowReward)
    assert (short.truncated, long.truncated, long.num_tokens) == (False, True, 40)


def test_a_long_text_is_refused_where_truncation_is_not_wanted(folder):
    strict = loaded(folder, replace(LIMITS, long_text="refuse"))
    short, long = scored(strict, group("a star", "star " * 60))[0].rows
    assert isinstance(short, RowReward)
    assert isinstance(long, TooLargeError)
    assert "more than 40 tokens" in long.message


def test_tokens_count_image_and_text_and_the_prefix_is_shared(engine):
    score = scored(engine, group("a star", "a red star"))[0]
    assert score.prefix_tokens == 5
    assert score.rows[1].num_tokens - score.rows[0].num_tokens == 1
    assert score.suffix_tokens < sum(row.num_tokens for row in score.rows) - 10
    assert score.device_ms > 0


def test_text_only_groups_are_scored_without_image_tokens(engine):
    score = scored(engine, group("a star", image=None))[0]
    assert score.prefix_tokens == 0
    assert math.isfinite(rewards(score)[0])


def test_a_reward_that_is_not_finite_is_the_models_fault(folder):
    checkpoint = read_reward(folder, device="cpu", dtype="float32")
    checkpoint.model.score.weight.fill_(math.nan)
    broken = replace(load_model(folder, device="cpu", dtype="float32"), model=checkpoint.model)
    engine = TorchRewardEngine(broken, device="cpu", dtype="float32", limits=LIMITS)
    row = scored(engine, group("a star"))[0].rows[0]
    assert isinstance(row, InternalError)
    assert "not finite" in row.message


def test_a_checkpoint_of_the_other_kind_is_refused_at_load(folder):
    with pytest.raises(CheckpointError, match=r"the model of answer-reward; .* question-reward"):
        TorchRewardEngine.load(
            folder,
            kind="question-reward",
            device="cpu",
            dtype="float32",
            num_threads=1,
            limits=LIMITS,
        )


def test_no_groups_and_empty_groups_are_fine(engine):
    assert scored(engine) == []
    assert scored(engine, RewardGroup(image=RED, candidates=()))[0].rows == ()


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
