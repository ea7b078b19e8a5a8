from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig

from align2llava.services.engines.api import Candidate, RewardGroup, RowReward
from align2llava.services.engines.torch_engine.reward import EngineLimits, TorchRewardEngine
from align2llava.services.errors import TooLargeError
from align2llava.services.reward_model.families import LoadedModel, load_model
from align2llava.services.reward_model.qwen.model import QwenRewardModel, patch_geometry
from align2llava.services.reward_model.tokens.inputs import prompt_of
from align2llava.services.reward_model.tree.attention import DenseAttention, Heads, TreeAttention
from align2llava.services.reward_model.tree.shared_prefix import (
    CASCADE_MIN_SHARED,
    CascadeAttention,
    Span,
)
from align2llava.services.reward_model.tree.tree import joined, merge
from tests.services.reward_model.tiny_qwen import OneAtATime, tiny_qwen_config, write_tiny_qwen
from tests.services.reward_model.tree.test_shared_prefix import plain_varlen

LIMITS = EngineLimits(max_batch_tokens=1000, max_feature_bytes=100_000, long_text="truncate")
SIZES = ((24, 30), (64, 10), (200, 120))  # 12, 8 and 15 tokens, of several windows


@cache
def noise(size: tuple[int, int]) -> Image.Image:
    width, height = size
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def answered(answer: str, question: str = "What is it?") -> Candidate:
    return Candidate(questions=(question,), answer=answer)


def group(*candidates: Candidate, size: tuple[int, int] | None = SIZES[0]) -> RewardGroup:
    return RewardGroup(image=None if size is None else noise(size), candidates=candidates)


# Few words, so that candidates share beginnings, repeat and are prefixes of one another.
WORDS = st.lists(st.sampled_from(("a", "red", "star", ".")), min_size=1, max_size=4).map(" ".join)
GROUPS = st.builds(
    lambda candidates, size: group(*candidates, size=size),
    st.lists(st.builds(answered, WORDS, WORDS), min_size=1, max_size=5),
    st.sampled_from((*SIZES, None)),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_qwen(tmp_path_factory.mktemp("models") / "qwen")


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def model(folder) -> QwenRewardModel:
    """The model with transformers' own layers."""
    model = load_model(folder, device="cpu", dtype="float32").model
    assert isinstance(model, QwenRewardModel)
    return model


@pytest.fixture(scope="module")
def engine(loaded):
    return TorchRewardEngine(loaded, device="cpu", dtype="float32", limits=LIMITS)


@pytest.fixture(scope="module")
def one_at_a_time(folder, model):
    """The rewards of a group's candidates by transformers alone; none is computed twice."""
    reference = OneAtATime(folder, model)

    @cache
    def reward(prompt: str, size: tuple[int, int] | None) -> float:
        return reference.reward(prompt, None if size is None else noise(size))

    def rewards(asked: RewardGroup) -> list[float]:
        prompts = [
            prompt_of("answer-reward", one.questions, one.answer) for one in asked.candidates
        ]
        size = None if asked.image is None else asked.image.size
        return [reward(prompt, size) for prompt in prompts]

    return rewards


def scored(engine, *groups: RewardGroup) -> list[list[float]]:
    scores = engine.launch([engine.prepare(one) for one in groups])()
    assert all(isinstance(row, RowReward) for score in scores for row in score.rows)
    return [[row.reward for row in score.rows] for score in scores]


@settings(max_examples=40, deadline=None)
@given(groups=st.lists(GROUPS, min_size=1, max_size=3))
def test_rewards_are_those_of_transformers_whole_forward_whatever_the_batch_mates(
    engine, one_at_a_time, groups
):
    for asked, found in zip(groups, scored(engine, *groups), strict=True):
        assert found == pytest.approx(one_at_a_time(asked), abs=1e-5)


def shared_heads_varlen(span: Span, heads: Heads):
    """The kernel in plain torch, where several query heads share one of keys and values."""
    times = heads.query_QHD.shape[1] // heads.key_TKD.shape[1]
    key, value = (one.repeat_interleave(times, dim=1) for one in (heads.key_TKD, heads.value_TKD))
    return plain_varlen(span, Heads(heads.query_QHD, key, value))


def prepared(loaded, asked: RewardGroup):
    """A group's rows, image and features."""
    image = None if asked.image is None else loaded.inputs.image(asked.image)
    prompts = [prompt_of("answer-reward", one.questions, one.answer) for one in asked.candidates]
    rows = [loaded.inputs.row(prompt, image) for prompt in prompts]
    with torch.inference_mode():
        features = None if image is None else loaded.model.features([image])[0]
    return rows, image, features


def packed(folder, attention: TreeAttention, *, dtype: str = "float32") -> LoadedModel:
    loaded = load_model(folder, device="cpu", dtype=dtype)
    loaded.model.pack(attention)
    return loaded


def forest_rewards(loaded, groups, *, min_shared: int) -> list[float]:
    """The rewards of groups whose trees are joined into one forward."""
    parts = [prepared(loaded, asked) for asked in groups]
    trees = [merge([row.ids for row in rows], min_shared=min_shared) for rows, _, _ in parts]
    positions = [
        loaded.inputs.positions(tree, rows, image)
        for tree, (rows, image, _) in zip(trees, parts, strict=True)
    ]
    with torch.inference_mode():
        reward_R = loaded.model.tree_rewards(
            joined(trees),
            np.concatenate(positions, axis=1),
            [features for _, _, features in parts],
        )
    return reward_R.tolist()


@pytest.fixture(scope="module")
def by_mask(folder):
    return packed(folder, DenseAttention())


@pytest.fixture(scope="module")
def by_cascade(folder):
    return packed(folder, CascadeAttention(shared_heads_varlen))


@pytest.mark.parametrize("min_shared", [1, CASCADE_MIN_SHARED])
@settings(max_examples=20, deadline=None)
@given(groups=st.lists(GROUPS, min_size=1, max_size=3))
def test_cascade_attention_and_the_mask_give_it_for_joined_trees(
    by_mask, by_cascade, one_at_a_time, groups, min_shared
):
    expected = [reward for asked in groups for reward in one_at_a_time(asked)]
    for loaded in (by_mask, by_cascade):
        found = forest_rewards(loaded, groups, min_shared=min_shared)
        assert found == pytest.approx(expected, abs=1e-5)


def test_positions_of_text_in_the_images_place_would_show(by_mask, one_at_a_time):
    asked = group(answered("a red star"))
    rows, _, features = prepared(by_mask, asked)
    tree = merge([row.ids for row in rows])
    with torch.inference_mode():
        reward_R = by_mask.model.tree_rewards(tree, np.tile(tree.depths_T, (3, 1)), [features])
    assert abs(float(reward_R[0]) - one_at_a_time(asked)[0]) > 1e-3


def test_images_of_different_sizes_are_encoded_together_as_alone(loaded):
    images = [loaded.inputs.image(noise(size)) for size in SIZES]
    with torch.inference_mode():
        together = loaded.model.features(images)
        alone = [loaded.model.features([image])[0] for image in images]
    assert [len(tokens) for tokens in together] == [12, 8, 15]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_kept_features_hold_no_other_images_memory(loaded):
    features = loaded.model.features([loaded.inputs.image(noise(size)) for size in SIZES])
    assert [one.untyped_storage().nbytes() for one in features] == [one.nbytes for one in features]


def test_features_of_a_known_image_are_kept_and_right(folder, one_at_a_time):
    loaded = load_model(folder, device="cpu", dtype="float32")
    engine = TorchRewardEngine(loaded, device="cpu", dtype="float32", limits=LIMITS)
    asked = [group(answered(text), size=size) for text, size in zip("abc", SIZES, strict=True)]
    known = [replace(one, image_key=f"{place}" * 64) for place, one in enumerate(asked)]
    expected = [one_at_a_time(one) for one in asked]
    for batch in (known, known[::-1], known[1:]):
        found = scored(engine, *batch)
        wanted = [expected[known.index(one)] for one in batch]
        for one, other in zip(found, wanted, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def test_an_image_that_fills_the_context_is_too_large_and_names_the_limit(tmp_path):
    narrow = write_tiny_qwen(tmp_path / "narrow", max_length=14)
    engine = TorchRewardEngine.load(
        narrow, kind="answer-reward", device="cpu", dtype="float32", num_threads=1, limits=LIMITS
    )
    groups = [group(answered("a"), size=SIZES[0]), group(answered("a"), size=SIZES[1])]
    first, second = engine.launch([engine.prepare(one) for one in groups])()
    assert isinstance(first.rows[0], TooLargeError)
    assert "takes 14 tokens; the model's limit is 14" in first.rows[0].message
    assert isinstance(second.rows[0], RowReward)
    assert (second.rows[0].truncated, second.rows[0].num_tokens) == (True, 14)


def test_rewards_are_float32_under_bfloat16_weights(folder):
    half = packed(folder, DenseAttention(), dtype="bfloat16")
    found = forest_rewards(half, [group(answered("a"))], min_shared=1)
    exact = packed(folder, DenseAttention())
    expected = forest_rewards(exact, [group(answered("a"))], min_shared=1)
    assert found != expected
    assert found == pytest.approx(expected, abs=0.3)


def test_patches_that_are_no_squares_are_refused():
    config = tiny_qwen_config()
    assert isinstance(config.vision_config, Qwen2_5_VLVisionConfig)
    config.vision_config.patch_size = [4, 4]
    with pytest.raises(TypeError, match=r"patch_size is \[4, 4\]"):
        patch_geometry(config)
